"""The numbers for Prometheus, in one registry. Labels are accounts and states, never workspaces or people."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)

OUTCOMES = Counter(
    "duly_outcomes",
    "Calls to platforms by what the delivery became",
    ["account", "state", "reason"],
    registry=REGISTRY,
)
CALLBACKS = Counter("duly_callbacks", "Status callbacks taken", ["account", "status"], registry=REGISTRY)
REFUSED_CALLBACKS = Counter(
    "duly_refused_callbacks",
    "Callbacks refused, unsigned (403) or malformed (400)",
    ["account", "status"],
    registry=REGISTRY,
)
UNLISTED = Counter(
    "duly_unlisted_codes",
    "Platforms' codes that our tables do not have",
    ["account", "code"],
    registry=REGISTRY,
)
INBOUND = Counter("duly_inbound", "Messages from people stored", ["account"], registry=REGISTRY)
UNOPENED = Counter(
    "duly_unopened", "Deliveries put back because what is sealed could not be opened", registry=REGISTRY
)
PLANNED = Counter("duly_planned", "Occurrences of series decided", ["kind", "outcome"], registry=REGISTRY)
PLANNING_TROUBLES = Gauge(
    "duly_planning_troubles", "Series that this daemon could not plan the last time", registry=REGISTRY
)
REWORDED = Counter(
    "duly_goals_asked_again",
    "Check-ins whose goals stood otherwise when they were leased than when they were planned",
    ["outcome"],
    registry=REGISTRY,
)
LEASED = Counter("duly_leased", "Deliveries leased", registry=REGISTRY)
RESCUED = Counter("duly_rescued", "Deliveries taken over from dead daemons", ["state"], registry=REGISTRY)
DEATHS = Counter("duly_actor_deaths", "Actors that died and were restarted", ["actor"], registry=REGISTRY)
CALL_SECONDS = Histogram(
    "duly_call_seconds",
    "How long platforms take to answer",
    ["account"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
    registry=REGISTRY,
)
WAITING = Gauge("duly_waiting", "Leased deliveries in memory, not yet begun", ["account"], registry=REGISTRY)
BREAKER_OPEN = Gauge(
    "duly_breaker_open", "1 while an account's breaker is open or probing", ["account"], registry=REGISTRY
)
RATE = Gauge(
    "duly_rate_per_second",
    "Segments a second that an account may send now: the operator's, or what its platform bears",
    ["account"],
    registry=REGISTRY,
)
CONCURRENCY = Gauge(
    "duly_concurrency", "Calls that an account may have in flight now", ["account"], registry=REGISTRY
)
IN_FLIGHT = Gauge("duly_in_flight", "Calls under way", ["account"], registry=REGISTRY)
RESOLUTIONS = Counter(
    "duly_resolutions",
    "Answers about uncertain deliveries and what became of them",
    ["account", "answer", "state"],
    registry=REGISTRY,
)
HANDED_OVER = Gauge(
    "duly_handed_over", "Deliveries that an account's platform has for later", ["account"], registry=REGISTRY
)
RECALLS = Counter(
    "duly_recalls",
    "Answers of platforms about what they were given for later: its status, gone, or cannot_tell",
    ["account", "wanted", "answer"],
    registry=REGISTRY,
)
