"""How a request is checked: Twilio's rules and codes, as a table."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.sandbox.drafts import carried, draft, parse_form
from daemon.sandbox.errors import TwilioError

SERVICE = "MG" + "a" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
GOOD = {"To": ["+15551110100"], "From": ["+15005550006"], "Body": ["Hi"]}
SCHEDULED = {"From": [], "MessagingServiceSid": [SERVICE], "ScheduleType": ["fixed"]}


def changed(**fields: list[str]) -> dict[str, list[str]]:
    return {name: values for name, values in {**GOOD, **fields}.items() if values}


def at(seconds: float) -> list[str]:
    return [datetime.fromtimestamp(NOW + seconds, UTC).isoformat().replace("+00:00", "Z")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"To": []}, 21604),
        ({"To": ["5551110100"]}, 21211),
        ({"To": ["+0551110100"]}, 21211),
        ({"To": ["+1555"]}, 21211),
        ({"To": ["not a number"]}, 21211),
        ({"From": []}, 21603),
        ({"From": ["+0"]}, 21212),
        ({"From": ["twelve chars"]}, 21212),
        ({"From": ["+15551110100"]}, 21266),
        ({"From": ["whatsapp:+15005550006"]}, 21910),
        ({"From": [], "MessagingServiceSid": ["MG1"]}, 21701),
        ({"Body": []}, 21602),
        ({"Body": [""]}, 21602),
        ({"Body": ["a" * 1601]}, 21617),
        ({"MediaUrl": ["https://example.com/a.jpg"] * 11}, 21623),
        ({"MediaUrl": ["example.com/a.jpg"]}, 21620),
        ({"ContentVariables": ["no json"]}, 21656),
        ({"ValidityPeriod": ["0"]}, 21624),
        ({"ValidityPeriod": ["36001"]}, 21624),
        ({"ValidityPeriod": ["soon"]}, 21624),
        ({"ValidityPeriod": ["9" * 5000]}, 21624),
        ({"StatusCallback": ["ftp://example.com"]}, 21609),
        ({"StatusCallback": ["https://under_score.example.com"]}, 21609),
        ({"StatusCallback": ["https://example.com:port"]}, 21609),
        ({"StatusCallback": ["/hooks"]}, 21609),
        ({"StatusCallback": ["https://example.com/a b"]}, 21609),
        ({**SCHEDULED}, 35111),
        ({**SCHEDULED, "SendAt": ["tomorrow"]}, 35114),
        ({**SCHEDULED, "SendAt": at(300)}, 35114),
        ({**SCHEDULED, "SendAt": at(35 * 86_400 + 1)}, 35114),
        ({**SCHEDULED, "ScheduleType": ["daily"]}, 35126),
    ],
)
def test_a_wrong_request_is_refused_with_twilios_code(fields: dict[str, list[str]], code: int) -> None:
    with pytest.raises(TwilioError) as refused:
        draft(changed(**fields), NOW)
    assert refused.value.code == code
    assert refused.value.payload()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"


@pytest.mark.parametrize(
    "fields",
    [
        {"Body": ["a" * 1600]},
        {"Body": [], "MediaUrl": ["https://example.com/a.jpg"] * 10},
        {"Body": [], "ContentSid": ["HX" + "b" * 32], "ContentVariables": ['{"1": "Ann"}']},
        {"From": ["DULY 1"]},
        {"From": ["12345"]},
        {"From": ["whatsapp:+15005550006"], "To": ["whatsapp:+15551110100"]},
        {"ValidityPeriod": ["36000"]},
        {"StatusCallback": ["http://127.0.0.1:8080/hooks?delivery=d1&attempt=1"]},
        {"Nonsense": ["ignored"]},
    ],
)
def test_a_good_request_passes(fields: dict[str, list[str]]) -> None:
    assert draft(changed(**fields), NOW).to.endswith("+15551110100")


@pytest.mark.parametrize(
    ("fields", "send_at"),
    [
        ({**SCHEDULED, "SendAt": at(301)}, NOW + 301),
        ({**SCHEDULED, "SendAt": at(35 * 86_400)}, NOW + 35 * 86_400),
        ({**SCHEDULED, "ScheduleType": [], "SendAt": at(301)}, None),
        ({"ScheduleType": ["fixed"], "SendAt": at(301)}, None),
    ],
)
def test_send_at_counts_only_with_a_schedule_type_and_a_service(
    fields: dict[str, list[str]], send_at: float | None
) -> None:
    assert draft(changed(**fields), NOW).send_at == send_at


def test_a_service_sid_in_from_is_the_service() -> None:
    found = draft(changed(From=[SERVICE]), NOW)
    assert (found.sender, found.service) == (None, SERVICE)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://example.com/h?delivery=d1&attempt=2", ("d1", 2)),
        ("https://example.com/h?delivery=d1&attempt=x", ("d1", None)),
        ("https://example.com/h", (None, None)),
        (f"https://example.com/h?delivery=d1&attempt={'9' * 5000}", ("d1", None)),
        ("http://[broken", (None, None)),
        ("", (None, None)),
    ],
)
def test_the_delivery_id_is_read_from_the_callback_url(
    url: str, found: tuple[str | None, int | None]
) -> None:
    assert carried(url) == found


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_taken_but_never_a_crash(body: bytes) -> None:
    form = parse_form(body)
    with suppress(TwilioError):
        draft(form, NOW)


fields = st.sampled_from(["To", "From", "Body", "MediaUrl", "StatusCallback", "SendAt", "ValidityPeriod"])


@given(st.dictionaries(fields, st.lists(st.text(max_size=30), min_size=1, max_size=2)))
def test_any_values_are_refused_or_taken_but_never_a_crash(values: dict[str, list[str]]) -> None:
    with suppress(TwilioError):
        draft(changed(**values), NOW)
