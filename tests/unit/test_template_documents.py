"""Documents, channels and previews: what is put is right, or the field that is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.content.documents import checked, document_of, parse
from daemon.content.language import TemplateProblem
from daemon.content.preview import preview
from daemon.content.smart import beyond_gsm7, smart_replaced
from daemon.content.starter import starter
from daemon.content.templates import Content, TemplateVersion
from daemon.model import Channel
from daemon.rules.segments import segments

DOCUMENT = """
name = "reminder"
smart_replacement = true

[variables]
FirstName = { default = "friend", example = "Ann" }
"visit.time" = { type = "time", example = "18:00" }
late = { type = "flag", default = false }

[[texts]]
body = "Hi {{FirstName}}, see you at {{visit.time}}.{% if late %} Be quick!{% endif %}"

[[texts]]
language = "pt-BR"
bodies = ["Oi {{FirstName}}", "Olá {{FirstName}}"]

[[texts]]
channel = "email"
subject = "At {{visit.time}}"
body = "Hi {{FirstName}}"
html = "<p>Hi {{FirstName}}</p>"
buttons = [{ label = "Map & more", url = "https://example.com/?n={{FirstName}}&t=1" }]
attachments = [{ url = "https://example.com/a.pdf", type = "application/pdf", name = "a.pdf" }]
"""


def version(**changes: Any) -> TemplateVersion:
    return checked({"name": "t", "texts": [{"body": "x"}], **changes}).version()


def one(channel: str, given: dict[str, Any] | None = None, **text: Any) -> Content:
    """What a text says on a channel."""
    variables = {"x": {"example": "x"}, "link": {"type": "url"}}
    made = version(variables=variables, texts=[{"body": "Body", **text}])
    return made.render(
        made.texts[0], {"x": "a&b c/é", "link": "https://e.com/?a=1&b='", **(given or {})}, channel=channel
    )


def test_a_document_is_read_and_written_again() -> None:
    document = parse(DOCUMENT)
    assert [(t.channel, t.language, t.number) for t in document.texts] == [
        ("", "", 1), ("", "pt-br", 1), ("", "pt-br", 2), ("email", "", 1),
    ]  # fmt: skip
    assert document.parts[0] is None  # it has conditions
    assert document.parts[1] == {"body": ["Oi ", {"name": "FirstName"}]}
    again = checked(document_of(document.version()))
    assert (again.texts, again.variables) == (document.texts, document.variables)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Bad Name"}, "name: must be"),
        ({"more": 1}, "more: is no field"),
        ({"smart_replacement": "yes"}, "smart_replacement: must be true"),
        ({"variables": {"1x": {}}}, "variables: '1x' is no name"),
        ({"variables": {"true": {}}}, "variables: 'true' is no name"),
        ({"variables": {"x": {"type": "int"}}}, r"variables\.x\.type: is none of"),
        ({"variables": {"x": {"typ": "int"}}}, r"variables\.x\.typ: is no field"),
        ({"variables": {"x": {"type": "number", "default": "3"}}}, r"variables\.x\.default: must be a number"),
        ({"variables": {"x": {"type": "number", "default": 10**20}}}, r"variables\.x\.default: is larger"),
        ({"variables": {"x": {"example": " "}}}, r"variables\.x\.example: is empty"),
        ({"variables": {"x": {}, "x.y": {}}}, r"variables\.x: is also the beginning"),
        ({"texts": []}, "texts: must be a list"),
        ({"texts": [{}]}, r"texts\.1\.body: give body"),
        ({"texts": [{"html": "x"}]}, r"texts\.1\.body: give body.*HTML needs"),
        ({"texts": [{"body": " "}]}, r"texts\.1\.body: is empty"),
        ({"texts": [{"body": "a"}, {"body": "a\n{{ b }}"}]}, r"texts\.2\.body: line 2: b is not declared"),
        ({"texts": [{"body": "a\n{{ b c }}"}]}, r"texts\.1\.body: line 2: "),
        ({"texts": [{"body": "x", "channel": "fax"}]}, r"texts\.1\.channel: 'fax' is none of"),
        ({"texts": [{"body": "x", "style": "Loud"}]}, r"texts\.1\.style"),
        ({"texts": [{"body": "x", "language": "e"}]}, r"texts\.1\.language"),
        ({"texts": [{"body": "x", "number": 0}]}, r"texts\.1\.number"),
        ({"texts": [{"body": "x", "channel": "email"}]}, r"texts\.1\.subject: is missing"),
        ({"texts": [{"body": "x", "channel": "sms", "subject": "x"}]}, r"texts\.1\.subject: sms shows none"),
        ({"texts": [{"body": "x", "channel": "push", "html": "x"}]}, r"texts\.1\.html: push shows none"),
        ({"variables": {"f": {"type": "flag"}}, "texts": [{"body": "{{f}}"}]}, r"texts\.1\.body: f is a flag"),
        ({"variables": {"n": {"type": "number"}}, "texts": [{"body": "{% if n > 'a' %}{% endif %}"}]},
         r"texts\.1\.body: compares values of different types"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_document_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(TemplateProblem, match=f"^{said}"):
        version(**change)


PICTURE = {"url": "https://e.com/a", "type": "image/png"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"buttons": [{"label": "x"}]}, "buttons.1: must have a url that it opens, or a reply"),
        ({"buttons": [{"url": "https://e.com"}]}, "buttons.1.label: is missing"),
        ({"buttons": [{"label": "x", "url": "javascript:x"}]}, "buttons.1.url: must be a URL"),
        ({"buttons": [{"label": "x", "url": "https://e.com/a b"}]}, "buttons.1.url: must be a URL"),
        ({"buttons": [{"label": "x", "url": "{{x}}"}]}, "buttons.1.url: must be a URL"),
        ({"buttons": [{"label": "{% if x %}a{% endif %}", "url": "https://e.com"}]}, "buttons.1.label: takes"),
        ({"buttons": [{"label": "x", "reply": "y"}] * 11}, "buttons: must be a list of at most 10"),
        ({"channel": "sms", "buttons": [{"label": "x", "reply": "y"}]}, "buttons: sms has none that reply"),
        ({"channel": "email", "subject": "s", "buttons": [{"label": "x", "reply": "y"}]}, "buttons: email has none"),
        ({"channel": "sms", "buttons": [{"label": "x", "url": "app://y"}]}, "buttons.1.url: must be a URL"),
        ({"channel": "telegram", "buttons": [{"label": "x", "reply": "y" * 65}]}, "buttons: telegram hands back"),
        ({"attachments": [{"url": "https://e.com/a", "type": "png"}]}, "attachments.1.type: must be a media type"),
        ({"channel": "push", "attachments": [PICTURE]}, "attachments: push takes none"),
        ({"channel": "sms", "attachments": [PICTURE | {"type": "text/html"}]}, "attachments: sms takes pictures"),
        ({"channel": "whatsapp", "attachments": [PICTURE] * 2},
         "attachments: whatsapp takes at most 1"),
    ],
)  # fmt: skip
def test_a_channel_refuses_what_it_cannot_say(text: dict[str, Any], said: str) -> None:
    with pytest.raises(TemplateProblem) as problem:
        version(variables={"x": {}}, texts=[{"body": "x", **text}])
    assert str(problem.value).startswith(f"texts.1.{said}")


BUTTON = {"label": "Open {{x}}", "url": "https://e.com/{{x}}?a=1&b=2"}


def test_links_become_lines_where_there_are_no_buttons() -> None:
    said = one("sms", buttons=[BUTTON, {"label": "More", "url": "{{link}}"}])
    assert said.body == (
        "Body\nOpen a&b c/é: https://e.com/a%26b%20c%2F%C3%A9?a=1&b=2\nMore: https://e.com/?a=1&b='"
    )
    assert said.metadata() == {}


def test_an_email_has_links_in_both_of_its_parts() -> None:
    said = one(
        "email", subject="S {{x}}", html="<p>{{x}}</p>", buttons=[BUTTON, {"label": "M", "url": "{{link}}"}]
    )
    assert said.body.endswith("\nM: https://e.com/?a=1&b='")
    assert said.html == (
        '<p>a&amp;b c/é</p>\n<p><a href="https://e.com/a%26b%20c%2F%C3%A9?a=1&amp;b=2">Open a&amp;b c/é</a></p>'
        '\n<p><a href="https://e.com/?a=1&amp;b=&#39;">M</a></p>'
    )
    assert said.subject == "S a&b c/é"


@pytest.mark.parametrize("channel", ["telegram", "push", "in_app"])
def test_buttons_are_data_where_the_channel_has_some(channel: str) -> None:
    said = one(channel, buttons=[BUTTON, {"label": "Yes", "reply": "yes {{x}}"}])
    assert said.body == "Body"
    assert said.metadata() == {
        "buttons": [
            {"label": "Open a&b c/é", "url": "https://e.com/a%26b%20c%2F%C3%A9?a=1&b=2"},
            {"label": "Yes", "reply": "yes a&b c/é"},
        ]
    }


def test_deep_links_lead_into_an_application_only() -> None:
    button = {"label": "Open", "url": "myapp://goal/{{x}}"}
    assert one("push", buttons=[button]).buttons[0]["url"] == "myapp://goal/a%26b%20c%2F%C3%A9"
    with pytest.raises(TemplateProblem, match=r"^buttons: sms opens http and https"):
        one("sms", buttons=[button])


def test_pictures_are_media_on_phones_and_attachments_elsewhere() -> None:
    picture = {"url": "https://e.com/{{x}}.png", "type": "image/png", "name": "{{x}}.png"}
    for channel in ("sms", "whatsapp", "rcs"):
        assert one(channel, attachments=[picture]).metadata() == {
            "media_urls": ["https://e.com/a%26b%20c%2F%C3%A9.png"]
        }
    said = one("email", subject="s", attachments=[picture])
    assert said.attachments == [
        {"url": "https://e.com/a%26b%20c%2F%C3%A9.png", "type": "image/png", "name": "a&b c/é.png"}
    ]
    with pytest.raises(TemplateProblem, match=r"^attachments: push takes none"):
        one("push", attachments=[picture])


def test_the_best_text_is_chosen_by_channel_then_language_then_style() -> None:
    made = version(
        texts=[
            {"body": "all"},
            {"body": "snarky", "style": "snarky"},
            {"body": "pt", "language": "pt"},
            {"body": "pt snarky", "language": "pt", "style": "snarky"},
            {"body": "push", "channel": "push"},
        ]
    )

    def best(*asked: str) -> str:
        return made.choices(*asked)[0].body

    assert best("sms", "en", "kind") == "all"
    assert best("sms", "en", "snarky") == "snarky"
    assert best("sms", "pt-BR", "kind") == best("sms", "pt_br", "kind") == "pt"
    assert best("sms", "pt", "snarky") == "pt snarky"
    assert best("push", "pt", "snarky") == "push"


def test_smart_replacement_spares_a_segment_and_leaves_what_it_cannot_help() -> None:
    body = "“It’s 5–7 p.m.…” " + "x" * 60
    assert segments(body).count == 2
    assert smart_replaced(body) == '"It\'s 5-7 p.m...." ' + "x" * 60
    assert segments(smart_replaced(body)).count == 1
    assert smart_replaced("“Hi” 🎉") == "“Hi” 🎉"
    assert beyond_gsm7("“Hi” 🎉“") == ["“", "”", "🎉"]


def test_a_preview_says_what_a_text_costs_and_why() -> None:
    made = version(
        variables={"x": {"example": "you"}},
        texts=[{"body": "“Hi {{x}}” " + "x" * 70}, {"body": "Hi {{x}}", "channel": "push"}],
    )
    sms, push = preview(made, {})
    assert sms.as_json() == {
        "channel": "sms", "language": "", "style": "", "number": 1, "body": "“Hi you” " + "x" * 70, "length": 79,
        "encoding": "ucs2", "segments": 2, "beyond_gsm7": "“”", "segments_if_replaced": 1,
    }  # fmt: skip
    assert (push.body, push.length, push.segments) == ("Hi you", 6, None)
    assert preview(made, {"x": 3})[0].error == "variables.x: must be a text"
    assert [each.channel for each in preview(made, {}, channel="push")] == ["push", "push"]


def test_the_starter_set_is_one_segment_each_and_names_who_and_what() -> None:
    documents = starter()
    assert [document.name for document in documents] == ["accountability", "partial", "congratulatory"]
    given = {
        "FirstName": "N" * 15, "goal": "g" * 20, "done": 12.5, "target": 100, "unit": "km", "percent": 12.5,
    }  # fmt: skip
    for document in documents:
        made = document.version()
        assert all(parts is not None for parts in document.parts)  # SQL can say them, too
        for style in ("supportive", "snarky", "chaotic"):
            texts = made.choices("sms", "en", style)
            assert len({text.body for text in texts}) >= 5
            for text in texts:
                body = made.render(text, given, channel="sms").body
                assert segments(body).count == 1, body
                assert segments(body).encoding == "gsm7", body
                assert "{{FirstName}}" in text.body
                assert "{{goal}}" in text.body
                assert "week" not in text.body
        assert made.render(texts[0], {"goal": "Run", "done": 1, "target": 2, "percent": 50}).body
        assert made.render(texts[0], given, channel=Channel.EMAIL).subject
