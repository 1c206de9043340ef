"""What a chaos run does, when, and to what it sends: plans drawn from a seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.chaos import messages, schedule
from daemon.chaos.schedule import LEASE_SECONDS, PATIENCE_SECONDS, WEATHER, Action
from daemon.sandbox.behaviours import ORDINARY, behaviour_of
from daemon.sandbox.callbacks import REORDER_SECONDS
from daemon.sandbox.faults import TAKEN_LATER_SECONDS, Faults
from daemon.sandbox.settings import SandboxSettings

seeds = st.integers(0, 1_000_000)


@given(seeds, st.integers(0, 100), st.floats(1, 600))
def test_the_same_seed_makes_the_same_schedule(seed: int, kills: int, seconds: float) -> None:
    one = schedule.plan(seed=seed, kills=kills, seconds=seconds, daemons=3)
    assert one == schedule.plan(seed=seed, kills=kills, seconds=seconds, daemons=3)
    assert one.count(Action.KILL) == kills
    assert all(0 <= event.at <= seconds for event in one.events)
    assert sum(skew != 0 for skew in one.skew_minutes) == 1


@given(seeds)
def test_a_short_run_meets_every_kind_of_blow(seed: int) -> None:
    plan = schedule.plan(seed=seed, kills=6, seconds=22, daemons=3)
    assert all(plan.count(action) for action in Action)
    assert 2 <= plan.count(Action.STOP) <= 3
    assert plan.count(Action.RESTART_DATABASE) == 1


@given(seeds)
def test_daemons_are_suspended_for_longer_than_their_lease_and_some_until_others_have_sent_again(
    seed: int,
) -> None:
    stops = [
        e for e in schedule.plan(seed=seed, kills=12, seconds=60, daemons=3).events if e.action is Action.STOP
    ]
    assert all(stop.seconds > LEASE_SECONDS for stop in stops)
    assert any(stop.seconds > LEASE_SECONDS + PATIENCE_SECONDS for stop in stops)


@pytest.mark.parametrize("name", WEATHER)
def test_every_weather_is_one_that_the_stand_in_can_make(name: str) -> None:
    Faults.model_validate(dict(WEATHER[name]))


@pytest.mark.parametrize("name", WEATHER)
def test_patience_is_longer_than_anything_the_chaos_puts_between_a_call_and_its_traces(name: str) -> None:
    weather = WEATHER[name]
    held_back = (weather.get("latency_ms", 0) + weather.get("jitter_ms", 0)) / 1000
    first_retry = SandboxSettings(account_sid="", auth_token="").callback_retry_seconds[0]
    later = TAKEN_LATER_SECONDS[1] if weather.get("cut_taken_later") else 0
    assert held_back + max(first_retry, REORDER_SECONDS[1]) < PATIENCE_SECONDS  # to its callback
    assert held_back + later + 1 < PATIENCE_SECONDS  # to its place in the list


@given(seeds)
def test_the_same_seed_makes_the_same_messages(seed: int) -> None:
    one = messages.plan(seed=seed, messages=50, seconds=20)
    assert one == messages.plan(seed=seed, messages=50, seconds=20)
    assert [m.at for m in one] == sorted(m.at for m in one)


def test_messages_are_of_every_kind() -> None:
    planned = messages.plan(seed=1, messages=1000, seconds=60)
    assert {m.workspace for m in planned} == set(messages.WORKSPACES)
    assert {m.priority for m in planned} == {1, 2, 3}
    assert any(m.due_seconds for m in planned)
    assert any(m.again_seconds is not None for m in planned)
    assert any(m.cancel_seconds is not None for m in planned)
    assert any(m.expires_seconds is not None for m in planned)
    texts = [(m.to, m.body) for m in planned]
    assert 10 < len(texts) - len(set(texts)) < 100


def test_no_address_means_anything_special_to_the_stand_in() -> None:
    planned = messages.plan(seed=2, messages=20_000, seconds=60)
    assert all(behaviour_of(m.to) is ORDINARY for m in planned)
