"""Footers and confirmations: said once, understood by our own reading of answers, and one part long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.content.opt_out import WORDINGS, confirmation, footer, wording
from daemon.rules.keywords import Intent, recognise
from daemon.rules.segments import GSM7_BASIC, Encoding, segments

UNHURRIED = settings(deadline=None)  # the machine may be busy
LANGUAGES = sorted(WORDINGS)
WIDE = {"ru", "uk", "ar", "he", "hi", "zh", "zh-hant", "ja", "ko", "th"}
CORPUS = Path(__file__).parents[1] / "data" / "opt_out_corpus.jsonl"
ORDINARY = [
    line["text"]
    for line in map(json.loads, CORPUS.read_text(encoding="utf-8").splitlines())
    if line["expected"] is None
]

languages = st.sampled_from(LANGUAGES)
intents = st.sampled_from(list(Intent))
names = st.text(alphabet=sorted(GSM7_BASIC - set("\n\r")), min_size=1, max_size=30)
contacts = st.none() | st.sampled_from(["+15551234567", "a.co/help", "555-1234", "hi@acme.io"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_footer_names_a_word_that_is_a_stop(language: str) -> None:
    texts = WORDINGS[language]
    assert texts.word in texts.footer
    found = recognise(texts.word)
    assert found is not None
    assert found.intent is Intent.STOP


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_echoed_footer_is_no_opt_out(language: str) -> None:
    assert recognise(footer(language)) is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_latin_languages_keep_to_the_gsm_alphabet(language: str) -> None:
    texts = WORDINGS[language]
    for text in (texts.footer, texts.stopped, texts.started, texts.rates):
        assert language in WIDE or segments(text).encoding is Encoding.GSM7


@pytest.mark.parametrize(
    ("tag", "named"),
    [
        ("en", "STOP"),
        ("en-GB", "STOP"),
        ("es-MX", "BAJA"),
        ("ES_mx", "BAJA"),
        ("fr", "STOP"),
        ("fr-CA", "ARRET"),
        ("fr-CA-x-private", "ARRET"),
        ("pt-BR", "SAIR"),
        ("de-AT", "STOPP"),
        ("zh-CN", "退订"),
        ("zh-Hant-TW", "退訂"),
        ("zh-TW", "退訂"),
        ("no-NO", "STOPP"),
        ("tl", "STOP"),
        ("xx", "STOP"),
        ("", "STOP"),
        ("-", "STOP"),
        ("en" * 10_000, "STOP"),
    ],
)
def test_a_language_tag_is_cut_short_until_there_is_a_text(tag: str, named: str) -> None:
    assert wording(tag).word == named
    assert named in footer(tag)


@UNHURRIED
@given(intents, languages, names, contacts)
def test_a_confirmation_is_one_part_and_names_the_sender(
    intent: Intent, language: str, business: str, contact: str | None
) -> None:
    said = confirmation(intent, language, business, contact)
    assert segments(said).count == 1
    assert said.startswith(f"{business}: ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_longest_confirmations_are_one_part(language: str) -> None:
    for intent in Intent:
        assert segments(confirmation(intent, language, "B" * 30, "+15551234567")).count == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_and_start_say_how_to_stop_and_a_stop_is_only_confirmed(language: str) -> None:
    texts = WORDINGS[language]
    helped = confirmation(Intent.HELP, language, "Acme", "+15551234567.")
    started = confirmation(Intent.START, language, "Acme", "+15551234567")
    stopped = confirmation(Intent.STOP, language, "Acme", "+15551234567")
    assert helped.startswith("Acme: +15551234567. ")
    assert helped.endswith(texts.footer)
    assert started.endswith(texts.footer)
    assert texts.rates in helped
    assert texts.rates in started
    assert texts.footer not in stopped
    assert "+1555" not in stopped + started


def test_the_english_answers() -> None:
    assert confirmation(Intent.HELP, "en-US", "Acme", "help@acme.example") == (
        "Acme: help@acme.example. Msg & data rates may apply. Reply STOP to opt out"
    )
    assert confirmation(Intent.HELP, "en-US", "Acme") == (
        "Acme: Msg & data rates may apply. Reply STOP to opt out"
    )
    assert confirmation(Intent.STOP, "en-US", "Acme") == (
        "Acme: You are unsubscribed and will get no more messages. Reply START to resubscribe."
    )


@UNHURRIED
@given(
    intents, languages, st.sampled_from(["Acme", "Dr. Novák", "City Clinic", "Кофе", "診所", "Bus Stop Cafe"])
)
def test_an_echoed_confirmation_is_no_keyword(intent: Intent, language: str, business: str) -> None:
    assert recognise(confirmation(intent, language, business, "+15551234567")) is None


@UNHURRIED
@given(st.sampled_from(ORDINARY), st.sampled_from(["Acme", "City Clinic", None]), languages)
def test_an_echoed_message_with_its_footer_is_no_opt_out(
    body: str, business: str | None, language: str
) -> None:
    lines = [body, business, footer(language)]
    found = recognise("\n".join(line for line in lines if line))
    assert found is None or found.intent is not Intent.STOP
