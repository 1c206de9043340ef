"""What becomes of occurrences that are past: skipped, the newest, or all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.planning.catching_up import MISSED, slots

HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def at(*hours_ago: float) -> list[tuple[datetime, datetime]]:
    return [((NOW - h * HOUR).replace(tzinfo=None), NOW - h * HOUR) for h in hours_ago]


@pytest.mark.parametrize(
    ("policy", "sent"), [("skip", [False, False]), ("latest", [False, True]), ("all", [True, True])]
)
def test_what_was_missed_is_left_or_sent_now_as_the_series_says(policy: str, sent: list[bool]) -> None:
    found = slots(at(50, 26), policy, HOUR, 4 * HOUR, NOW)
    assert [slot.reason is None for slot in found] == sent
    assert [slot.caught_up for slot in found] == sent
    for slot in found:
        if slot.caught_up:
            assert (slot.due, slot.earliest, slot.latest) == (NOW, NOW, NOW + 4 * HOUR)
        else:
            assert slot.reason == MISSED


@pytest.mark.parametrize("policy", ["skip", "latest", "all"])
def test_what_is_within_its_tolerance_was_not_missed(policy: str) -> None:
    late, ahead, far = slots(at(4, -0.5, -9), policy, HOUR, 4 * HOUR, NOW)
    assert (late.due, late.earliest, late.latest) == (NOW, NOW, NOW)
    assert (ahead.due, ahead.earliest, ahead.latest) == (NOW + HOUR / 2, NOW, NOW + 4.5 * HOUR)
    assert (far.due, far.earliest, far.latest) == (NOW + 9 * HOUR, NOW + 8 * HOUR, NOW + 13 * HOUR)
    assert not any(slot.reason or slot.caught_up for slot in (late, ahead, far))


hours = st.floats(-400, 400).map(lambda h: round(h, 1))


@given(
    st.lists(hours, max_size=20),
    st.sampled_from(["skip", "latest", "all"]),
    st.floats(0, 168),
    st.floats(0, 168),
)
def test_each_occurrence_has_one_slot_in_order_and_none_is_early(
    ago: list[float], policy: str, earlier: float, later: float
) -> None:
    given_ = at(*sorted(ago, reverse=True))
    found = slots(given_, policy, earlier * HOUR, later * HOUR, NOW)
    assert [(slot.wall, slot.wished) for slot in found] == given_
    sent = [slot for slot in found if slot.reason is None]
    for slot in sent:
        assert slot.earliest <= slot.due <= slot.latest
        assert slot.due >= max(slot.wished, NOW)
        assert slot.earliest >= min(slot.wished - earlier * HOUR, NOW)
    assert [slot.due for slot in sent] == sorted(slot.due for slot in sent)
    missed = [slot for slot in found if slot.wished + later * HOUR < NOW]
    caught_up = {"skip": 0, "latest": len({missed[-1].wished}) if missed else 0, "all": len(missed)}
    assert len({slot.wished for slot in missed if slot.caught_up}) == (
        len({slot.wished for slot in missed}) if policy == "all" else caught_up[policy]
    )
