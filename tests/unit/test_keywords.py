"""What a person's answer says: the corpus of tests/data/opt_out_corpus.jsonl, and properties of any text.

Each line of the corpus holds a language, a text and what a careful person takes it for (null: nothing). None of
its ordinary messages may be taken for a keyword; of the others, the few that are not recognised stay in it. Some
are what people wrote in Rando v. Edible Arrangements (D.N.J. 2018) and Epps v. Earth Fare (C.D. Cal. 2017).
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.rules import lexicon
from daemon.rules.keywords import LONGEST_MATCH, Intent, Means, Recognised, recognise
from daemon.rules.reading import LIMIT

LINES = (Path(__file__).parents[1] / "data" / "opt_out_corpus.jsonl").read_text(encoding="utf-8").splitlines()
CORPUS = [(line["language"], line["text"], line["expected"]) for line in map(json.loads, LINES)]
POSITIVE = [(text, expected) for _, text, expected in CORPUS if expected]
NEGATIVE = [text for _, text, expected in CORPUS if not expected]
US_LIST = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")

UNHURRIED = settings(deadline=None)  # the machine may be busy

around = st.text(alphabet=" \t\n.!?,'\"“”‘’«»()[]*_-…¡¿。！🛑🙏🏽👍❤\u200b\u2060\ufeff", max_size=12)


def intent(text: str) -> str | None:
    found = recognise(text)
    return found.intent.value if found else None


def test_the_corpus_is_large_and_of_many_languages() -> None:
    assert len(POSITIVE) >= 300
    assert len(NEGATIVE) >= 280
    assert len({language for language, _, _ in CORPUS}) >= 25


@pytest.mark.parametrize("text", NEGATIVE)
def test_an_ordinary_message_is_no_keyword(text: str) -> None:
    assert recognise(text) is None


@pytest.mark.parametrize(("text", "expected"), POSITIVE)
def test_what_is_recognised_is_what_was_meant(text: str, expected: str) -> None:
    assert intent(text) in (expected, None)


def test_hardly_anything_that_was_meant_is_missed() -> None:
    results = Counter((expected, intent(text)) for _, text, expected in CORPUS)
    hits = sum(count for (expected, found), count in results.items() if found and found == expected)
    alarms = sum(count for (expected, found), count in results.items() if found and found != expected)
    precision, recall = hits / (hits + alarms), hits / len(POSITIVE)
    assert (precision, recall >= 0.95) == (1.0, True), f"precision {precision:.3f}, recall {recall:.3f}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, Recognised(Intent.STOP, Means.KEYWORD, word.lower())) for word in US_LIST),
        *(
            (word, Recognised(Intent.START, Means.KEYWORD, word.lower()))
            for word in ("START", "YES", "UNSTOP")
        ),
        *((word, Recognised(Intent.HELP, Means.KEYWORD, word.lower())) for word in ("HELP", "INFO")),
        ("Stop, please! STOP", Recognised(Intent.STOP, Means.KEYWORD, "stop")),
        ("STOP cancel", Recognised(Intent.STOP, Means.KEYWORD, "stop cancel")),
        ("yes, stop", Recognised(Intent.STOP, Means.KEYWORD, "yes stop")),
        ("ARRÊT", Recognised(Intent.STOP, Means.KEYWORD, "arret")),
        ("Dừng!", Recognised(Intent.STOP, Means.KEYWORD, "dừng")),
        ("Hi. Please stop texting me.", Recognised(Intent.STOP, Means.PHRASE, "stop texting me")),
        ("Wrong number. Stop", Recognised(Intent.STOP, Means.PHRASE, "stop")),
        ("How do I unsubscribe?", Recognised(Intent.HELP, Means.PHRASE, "how do i unsubscribe")),
    ],
)
def test_the_words_that_showed_it_are_kept(text: str, expected: Recognised) -> None:
    assert recognise(text) == expected


@pytest.mark.parametrize(
    ("text", "told", "expected"),
    [
        ("Adiós", "STOP", Recognised(Intent.STOP, Means.PLATFORM, "adios")),
        ("stop", "HELP", Recognised(Intent.HELP, Means.PLATFORM, "stop")),
        ("", "START", Recognised(Intent.START, Means.PLATFORM, "start")),
        ("x" * 500, "STOP", Recognised(Intent.STOP, Means.PLATFORM, "x" * LONGEST_MATCH)),
        ("stop", "BLOCK", Recognised(Intent.STOP, Means.KEYWORD, "stop")),
        ("hello", "", None),
    ],
)
def test_what_the_platform_found_goes_before_what_we_find(
    text: str, told: str, expected: Recognised | None
) -> None:
    assert recognise(text, told) == expected


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("YES", True),
        ("yes yes", True),
        ("Sí, por favor", True),
        ("có", True),
        ("START", False),
        ("stop", False),
    ],
)
def test_a_bare_yes_is_told_from_a_start(text: str, agrees: bool) -> None:
    found = recognise(text)
    assert found is not None
    assert found.only_agrees is agrees


def test_the_sender_may_be_named_beside_a_keyword_and_nobody_else() -> None:
    assert recognise("STOP Acme Clinic", names=["Acme Clinic"]) == recognise("stop")
    assert recognise("Acme Clinic: stop please", names=["acme clinic", ""]) == recognise("stop")
    assert recognise("STOP Acme Clinic") is None
    assert recognise("Acme Clinic", names=["Acme Clinic"]) is None


def test_quoted_lines_of_a_mail_are_not_what_the_person_says() -> None:
    assert intent("> Reply STOP to opt out\n> stop texting me\nSee you on Friday") is None
    assert intent("STOP\n\n> Your appointment is on Friday.") == "STOP"


@UNHURRIED
@given(st.sampled_from(US_LIST), around, around, st.booleans())
def test_no_punctuation_around_a_keyword_hides_it(word: str, before: str, after: str, lower: bool) -> None:
    assert intent(before + (word.lower() if lower else word) + after) == "STOP"


@UNHURRIED
@given(st.sampled_from(sorted(lexicon.keywords("stop"))), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_every_stop_word_is_one_in_any_normal_form_and_case(word: str, form: str) -> None:
    for cased in (word, word.upper(), word.title()):
        assert intent(unicodedata.normalize(form, cased)) == "STOP"  # type: ignore[arg-type]


@UNHURRIED
@given(st.sampled_from(sorted(lexicon.keywords("stop"))), st.integers(1, 6))
def test_saying_it_again_says_the_same(word: str, times: int) -> None:
    if " " not in word:
        assert intent(" ".join([word] * times)) == "STOP"


@UNHURRIED
@given(st.sampled_from(NEGATIVE), st.sampled_from(NEGATIVE))
def test_two_ordinary_messages_in_one_are_no_opt_out(first: str, second: str) -> None:
    assert intent(f"{first}\n{second}") != "STOP"


@UNHURRIED
@given(st.text(max_size=200), st.sampled_from(["STOP", "START", "HELP", "stop", None]))
def test_any_text_is_read_and_what_is_kept_is_bounded(text: str, told: str | None) -> None:
    found = recognise(text, told)
    if found is not None:
        assert 0 < len(found.words) <= LONGEST_MATCH


@UNHURRIED
@given(st.text(alphabet=st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=8))
def test_a_keyword_within_a_longer_word_is_none(letters: str) -> None:
    assert intent(f"xq{letters}stop") is None


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_000 + "hello",
        "stop " * 200_000,
        "please " * 150_000 + "x",
        "stop texting me and " * 50_000,
        "wrong number, " * 70_000,
        "i dont want to receive any more any more " * 25_000,
        "stop sending me all all these these " * 30_000,
        "s t o p " * 125_000,
        "." * 1_000_000,
        "stop." * 200_000 + "x",
        "\n" * 1_000_000 + "x",
        ">" * 1_000_000,
        "> \n" * 300_000,
        "\u200b" * 1_000_000,
        "a" + "\u0301" * 1_000_000,
        "\ufdfa" * 1_000_000,
        "stooo" * 200_000,
        "\ud800" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_megabyte_of_anything_is_read_in_bounded_time(text: str) -> None:
    began = time.process_time()
    recognise(text, None, names=["Acme"])
    assert time.process_time() - began < 0.5  # it takes some milliseconds


@pytest.mark.parametrize("before", range(LIMIT - 60, LIMIT + 5))
def test_a_sentence_that_the_limit_cuts_says_nothing(before: int) -> None:
    assert recognise("x" * before + ". Please stop texting me so often, once a day is enough.") is None
