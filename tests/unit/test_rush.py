"""The chart of a busy moment: its boxes are as high, as wide and where the numbers say."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from daemon.planning.spread_chart import Bar
from daemon.web.dashboard.rush import HEIGHT, Rush, draw

SUNDAY = datetime(2026, 11, 29, 18, tzinfo=UTC)
SLOT = timedelta(minutes=5)


def bar(at: datetime, wished: int = 0, placed: int = 0, gone: int = 0, priority: int = 3) -> Bar:
    return Bar(at, "clinic", "sms", priority, wished, placed, gone, placed)


def drawn(bars: list[Bar], per_hour: float | None = 96) -> Rush:
    found = draw(SUNDAY, sorted(bars, key=lambda b: b.slot), {} if per_hour is None else {"main": per_hour})
    assert found is not None
    return found


def evening() -> list[Bar]:
    """320 wanted at 18:00 and spread until 21:20, the first hour gone."""
    spread = [bar(SUNDAY + nth * SLOT, placed=8, gone=8 if nth < 12 else 0) for nth in range(40)]
    return [bar(SUNDAY, wished=320), *spread]


def test_every_column_stands_on_the_ground_within_the_chart() -> None:
    rush = drawn(evening())
    assert len(rush.columns) == 14  # quarters of an hour
    boxes = [box for column in rush.columns for box in column.boxes]
    assert all(box.x >= 0 and box.x + box.width <= 100.01 and box.y >= 0 for box in boxes)
    assert all(box.y + box.height == pytest.approx(HEIGHT) for box in boxes)
    looks = [[box.look for box in column.boxes] for column in rush.columns]
    assert looks == [["gone p3", "wished cut"], *[["gone p3"]] * 3, *[["placed p3"]] * 10]


def test_what_an_account_carries_is_a_line_as_high_as_full_slots() -> None:
    rush = drawn(evening())
    assert rush.line == rush.columns[3].boxes[0].y
    half = drawn([bar(b.slot, b.wished, b.placed // 2, 0) for b in evening()])
    assert half.line is not None
    assert HEIGHT - half.columns[3].boxes[0].y == pytest.approx((HEIGHT - half.line) / 2, abs=0.2)
    assert drawn(evening(), per_hour=None).line is None


def test_messages_of_two_segments_halve_the_line() -> None:
    double = [Bar(b.slot, b.workspace, b.channel, 3, b.wished, b.placed // 2, 0, b.placed) for b in evening()]
    rush = drawn(double)
    assert rush.line == rush.columns[3].boxes[0].y


def test_a_wish_that_towers_over_all_is_cut_off_and_its_number_said() -> None:
    rush = drawn(evening())
    assert [(number.messages, number.before) for number in rush.numbers] == [(320, False)]
    assert (rush.at_peak, rush.planned, rush.gone) == (320, 320, 96)
    low = drawn([bar(SUNDAY + nth * SLOT, wished=9, placed=8) for nth in range(40)])
    assert not low.numbers
    assert all("cut" not in box.look for column in low.columns for box in column.boxes)


def test_priorities_are_stacked_the_first_at_the_bottom() -> None:
    bars = [bar(SUNDAY, 20, 6, 2, priority) for priority in (1, 2, 3)]
    boxes = [box for box in drawn(bars, None).columns[0].boxes if not box.look.startswith("wished")]
    assert [box.look for box in boxes] == [f"{look} p{p}" for p in (1, 2, 3) for look in ("gone", "placed")]
    for below, above in pairwise(boxes):
        assert above.y + above.height == pytest.approx(below.y, abs=0.1)


def test_a_short_rush_has_finer_slots_and_a_long_one_is_cut_to_what_can_be_read() -> None:
    assert len(drawn([bar(SUNDAY + nth * SLOT, wished=9, placed=9) for nth in range(12)]).columns) == 12
    far = bar(SUNDAY + timedelta(days=9), placed=1)
    rush = drawn([*evening(), far])
    assert rush.last > SUNDAY + timedelta(days=9)
    assert rush.columns[-1].placed == 8
    assert len(rush.ticks) <= 13


def test_the_table_has_every_hour_with_its_figures() -> None:
    rush = drawn(evening())
    assert [(hour.wished, hour.placed, hour.gone) for hour in rush.hours] == [
        (320, 96, 96), (0, 96, 0), (0, 96, 0), (0, 32, 0)
    ]  # fmt: skip
    assert rush.last == SUNDAY + timedelta(hours=3, minutes=30)


def test_a_few_messages_are_no_rush() -> None:
    assert draw(SUNDAY, [bar(SUNDAY, wished=9, placed=9)], {}) is None
    assert draw(SUNDAY, [], {}) is None
