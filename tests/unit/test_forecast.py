"""What the forecast says of a configuration and a queue: what it takes into account, and when nobody can say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.config import Config, parse_config
from daemon.planning.cohorts import Cohort, busy, edges, up_to
from daemon.planning.forecast import Forecast, Known, forecast
from daemon.store.backlog import Lot, Moment

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
STEADY = [100] * 6


def config(account: str = "rate_per_second = 10", extra: str = "") -> Config:
    return parse_config(
        f"""
        [limits]
        workspace_per_second = 1000
        [platforms.main]
        kind = "twilio"
        account_sid = "AC0123456789abcdef0123456789abcdef"
        auth_token = "x"
        from = "+15005550006"
        {account}
        [workspaces.clinic]
        [workspaces.shop]
        {extra}
        """,
        environ={},
    )


def lot(messages: int = 100, **of: Any) -> Lot:
    due = of.pop("due", 0.0)
    fields: dict[str, Any] = {
        "workspace": "clinic", "channel": "sms", "priority": 2, "slot": 0, "meant": True, "messages": messages,
        "segments": messages, "first_due_seconds": due, "last_due_seconds": due, "first_expiry_seconds": None,
        "last_expiry_seconds": None,
    }  # fmt: skip
    return Lot(**{**fields, **of})


def told(lots: Sequence[Lot], settings: Config | None = None, *cohorts: Cohort, **known: Any) -> Forecast:
    found = Known(**{"alive": 1, **known})
    return forecast(NOW, lots, edges(NOW, [], cohorts), cohorts, settings or config(), found)


def test_it_tells_all_each_workspace_and_each_account() -> None:
    said = told([lot(100), lot(200, workspace="shop"), lot(50, due=3600.0)])
    assert said.total.messages == 350
    assert said.total.empty_seconds == pytest.approx(30, rel=0.02)
    assert said.total.ends_seconds == pytest.approx(3605, rel=0.001)
    assert said.workspaces["clinic"].empty_seconds == pytest.approx(20, rel=0.02)
    assert said.accounts["main"] == said.total
    assert said.moment(said.total.ends_seconds) == NOW + timedelta(seconds=said.total.ends_seconds or 0)


def test_what_becomes_due_before_the_queue_is_empty_counts() -> None:
    said = told([lot(100), lot(100, due=9.0), lot(100, due=60.0)])
    assert said.total.empty_seconds == pytest.approx(20, rel=0.02)


def test_a_lot_that_becomes_due_over_a_time_ends_with_its_last() -> None:
    said = told([lot(100, due=600.0, last_due_seconds=1200.0)])
    assert said.total.ends_seconds == pytest.approx(1202.5, rel=0.01)


def test_a_cohort_is_what_is_due_between_two_times() -> None:
    monday = SUNDAY + timedelta(days=1)
    cuts = edges(NOW, [], [Cohort(SUNDAY, monday)])
    on_sunday, later = cuts.index(SUNDAY) + 1, cuts.index(monday) + 1
    seconds = (SUNDAY - NOW).total_seconds()
    lots = [
        lot(10),
        lot(300, slot=on_sunday, due=seconds),
        lot(100, slot=on_sunday, due=seconds, workspace="shop", priority=1),
        lot(50, slot=later, due=seconds + 86_400, meant=False),
    ]
    all_of_it, of_shop, urgent, until = told(
        lots, None, Cohort(SUNDAY, monday), Cohort(SUNDAY, monday, workspace="shop"),
        Cohort(SUNDAY, monday, priority=1), Cohort(None, monday),
    ).cohorts  # fmt: skip
    assert (all_of_it[1].messages, of_shop[1].messages, urgent[1].messages) == (400, 100, 100)
    assert until[1].messages == 410
    assert all_of_it[1].ends_seconds == pytest.approx(seconds + 40, abs=1)
    assert urgent[1].ends_seconds == pytest.approx(seconds + 11.4, abs=1)


@pytest.mark.parametrize(
    ("settings", "known", "of", "why"),
    [
        (config(), {"alive": 0}, {}, "no daemon is alive"),
        (config(), {"states": {"main": "breaker open for 30 s more: 10 of 10 calls failed"}}, {}, "breaker open"),
        (config("enabled = false", '[routes]\nsms = "main"'), {}, {}, "the account main is disabled"),
        (config(), {}, {"channel": "email"}, "no account carries email of clinic"),
    ],
)  # fmt: skip
def test_nobody_can_say_when_what_does_not_move_ends(
    settings: Config, known: dict[str, Any], of: dict[str, Any], why: str
) -> None:
    said = told([lot(**of)], settings, **known).total
    assert (said.empty_seconds, said.ends_seconds) == (None, None)
    assert said.why is not None
    assert why in said.why


def test_what_does_not_move_says_nothing_of_the_rest() -> None:
    said = told([lot(channel="email"), lot(workspace="shop")])
    assert said.workspaces["shop"].empty_seconds == pytest.approx(10, rel=0.02)
    assert said.total.empty_seconds is None


def test_an_account_without_a_limit_is_as_fast_as_its_calls() -> None:
    said = told([lot(1000)], config("concurrency = 5"), alive=2, call_seconds={"main": 0.1})
    assert said.total.ends_seconds == pytest.approx(10.1, rel=0.02)


def test_an_account_keeps_to_its_present_rate() -> None:
    assert told([lot()], present={"main": 2.0}).total.ends_seconds == pytest.approx(50, rel=0.02)
    assert told([lot()], present={"main": 99.0}).total.ends_seconds == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize(
    ("sent", "waited", "seconds"),
    [
        pytest.param([40, 40, 40, 90, 90, 90], 60.0, 25, id="what has gone lately is less than the limit"),
        pytest.param(STEADY, 60.0, 10, id="as much as the limit"),
        pytest.param([40] * 6, 20.0, 10, id="there was not always something to send"),
        pytest.param([40, 40, 0, 0, 0, 0], 60.0, 10, id="the daemon has just begun"),
    ],
)
def test_a_measured_speed_goes_before_a_limit_that_is_not_reached(
    sent: list[int], waited: float, seconds: float
) -> None:
    said = told([lot(due=-waited)], sent={("clinic", "main"): sent}).total
    assert said.ends_seconds == pytest.approx(seconds, rel=0.03)


def test_what_its_workspaces_hold_back_is_no_slow_account() -> None:
    slow = config(extra="").model_copy(
        update={"limits": config().limits.model_copy(update={"workspace_per_second": 1.0})}
    )
    lots = [lot(30, due=-60.0), lot(30, workspace="shop", due=30.0)]
    said = told(lots, slow, sent={("clinic", "main"): [10] * 6})
    assert said.workspaces["clinic"].ends_seconds == pytest.approx(30, rel=0.03)


def test_what_expires_is_counted_where_it_is() -> None:
    late = lot(200, first_expiry_seconds=5.0, last_expiry_seconds=5.0)
    said = told([late, lot(10, workspace="shop")])
    assert said.workspaces["clinic"].expiring == pytest.approx(160, abs=8)
    assert said.workspaces["shop"].expiring == 0
    assert said.total.expiring == said.workspaces["clinic"].expiring


# Which moments are busy, and where the queue is cut.


def minutes(*many: tuple[int, int]) -> list[Moment]:
    return [Moment(SUNDAY + timedelta(minutes=minute), messages) for minute, messages in many]


def test_a_busy_moment_is_the_minutes_of_a_quarter_in_which_much_becomes_due() -> None:
    found = busy(minutes((-20, 3), (0, 4200), (7, 5), (15, 300), (16, 280), (20, 2), (120, 9)))
    assert found == [
        Cohort(SUNDAY, SUNDAY + timedelta(minutes=1)),
        Cohort(SUNDAY + timedelta(minutes=15), SUNDAY + timedelta(minutes=17)),
    ]


def test_of_many_busy_moments_the_largest_are_told_in_order() -> None:
    found = busy(minutes(*((60 * nth, 100 + nth % 5) for nth in range(20))), most=3)
    assert len(found) == 3
    assert found == sorted(found, key=lambda cohort: cohort.until)


def test_the_queue_is_cut_around_cohorts_and_heavy_minutes_and_never_too_often() -> None:
    cohort = Cohort(SUNDAY, up_to(SUNDAY + timedelta(hours=1)))
    moments = minutes(*((nth, 5000 if nth == 500 else 1) for nth in range(1000)))
    cuts = edges(NOW, moments, [cohort])
    assert cuts == sorted(set(cuts))
    assert {cohort.since, cohort.until} <= set(cuts)
    heavy = SUNDAY + timedelta(minutes=500)
    assert {heavy, heavy + timedelta(minutes=1)} <= set(cuts)
    assert len(edges(NOW, minutes(*((nth, 10) for nth in range(9000))), [], lanes=1)) < 60
    assert len(edges(NOW, minutes(*((nth, 10) for nth in range(9000))), [], lanes=3000)) < 12
