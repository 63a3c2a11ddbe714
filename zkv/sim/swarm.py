"""What goes wrong in a run: each seed draws the kinds of fault that it uses, and how often each strikes.

So rare combinations happen, and others are left out, which matters as much (swarm testing: Groce et al. 2012). Each
draw has a source of its own, so that leaving a kind out by the plan changes nothing else.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from zkv import limits
from zkv.core.raft.ready import Timing
from zkv.sim.disk import DiskSpeed
from zkv.sim.network import Weather
from zkv.sim.world import SECOND

STRIKING = (
    "kill",
    "kill all",
    "pause",
    "stop",
    "isolate",
    "split",
    "one way",
    "break",
    "slow link",
    "slow disk",
    "full disk",
    "lost disk",
    "bad disk",
    "failed flush",
    "coordinator",
    "coordinator disk",
    "clock jump",
    "clock leap",
    "join",
    "leave",
    "creation",
    "ploys",
)
WEATHER = ("squeeze", "loss", "doubles", "reorder", "drift", "doze", "batches")
KINDS = STRIKING + WEATHER
_TIMINGS = ((limits.HEARTBEAT_MS, limits.ELECTION_MS_MIN, limits.LEASE_MS), (300, 1_800, 1_500))
_AIMED = 0.3  # of the seeds use ploys alone, which need a cluster that is well to begin with
_RARELY = {
    "kill all": 4,
    "lost disk": 3,
    "leave": 3,
    "bad disk": 3,
    "failed flush": 3,
}  # so many times as long from strike to strike
_SQUEEZED = {
    "APPEND_BYTES_MAX": (150, 1_000),
    "INFLIGHT_BYTES_PER_PEER_MAX": (400, 4_000),
    "UNCOMMITTED_BYTES_PER_SHARD_MAX": (2_000, 20_000),
    "TAIL_BYTES_PER_NODE_MAX": (2_000, 20_000),
    "SNAPSHOT_CHUNK_BYTES": (60, 500),
    "SESSIONS_PER_SHARD_MAX": (2, 4),
    "WINDOW_SEQUENCES": (8, 40),
}


@dataclass(frozen=True, slots=True)
class Swarm:
    """What one seed uses. `every_us`: how long from strike to strike of each kind, in the mean."""

    kinds: tuple[str, ...]
    weather: Weather
    disk: DiskSpeed
    drift: float  # clocks run at 1 - drift to 1 + drift
    timing: Timing  # of every replica
    limits: dict[str, int]  # of `zkv.limits`, made so small that they are met
    every_us: dict[str, int]

    def describe(self) -> str:
        """In one line."""
        weather = self.weather
        order = "in order" if weather.ordered else "reordered"
        network = f"{weather.latency_us} us + {weather.jitter_us} us, {order}"
        losses = f"{weather.loss:.0%} lost, {weather.doubled:.0%} doubled"
        squeezed = ", ".join(f"{name} {value}" for name, value in self.limits.items()) or "usual limits"
        pace = f"heartbeats every {self.timing.heartbeat_ms} ms, sleep after {self.timing.sleep_after_ms} ms"
        pace += f"; flush {self.disk.flush_us} us"
        return f"network {network}, {losses}; drift {self.drift:.2%}; {pace}; {squeezed}"


def draw(rng: Callable[[str], Random], without: tuple[str, ...]) -> Swarm:
    """A swarm. `rng` makes a source of chance for each purpose."""
    share = rng("swarm").choice([0.2, 0.4, 0.7])
    kinds = tuple(kind for kind in KINDS if rng(f"swarm {kind}").random() < share)
    every_us = {
        kind: int(rng(f"pace {kind}").choice([0.25, 0.7, 2, 5]) * SECOND) * _RARELY.get(kind, 1) for kind in STRIKING
    }
    if rng("aim").random() < _AIMED:
        kinds = ("ploys", *(kind for kind in kinds if kind in WEATHER and kind != "doze"))  # they aim at leases
        every_us["ploys"] = int(0.2 * SECOND)  # one after the other
    kinds = tuple(kind for kind in kinds if kind not in without)
    squeeze = rng("squeeze")
    squeezed = {name: squeeze.choice(values) for name, values in _SQUEEZED.items() if squeeze.random() < 0.4}
    return Swarm(
        kinds,
        _draw_weather(rng("weather"), kinds),
        DiskSpeed(flush_us=rng("disk").choice([100, 700, 5_000, 20_000])),
        # Two clocks may differ by LEASE_DRIFT_MS over LEASE_MS, 10 %.
        0.04 if "drift" in kinds else 0.0001,
        _draw_timing(rng, kinds),
        squeezed if "squeeze" in kinds else {},
        every_us,
    )


def _draw_timing(rng: Callable[[str], Random], kinds: tuple[str, ...]) -> Timing:
    """With "doze", shards that are asked for little fall asleep between two requests."""
    sleep_after_ms = rng("doze").choice([1, 200, 1_000]) if "doze" in kinds else limits.SLEEP_AFTER_MS
    return Timing(*rng("timing").choice(_TIMINGS), sleep_after_ms)


def _draw_weather(rng: Random, kinds: tuple[str, ...]) -> Weather:
    latency_us, jitter_us = rng.choice([50, 150, 1_000]), rng.choice([50, 300, 3_000])
    loss, doubled, wild = rng.choice([0.01, 0.05, 0.2]), rng.choice([0.01, 0.1]), rng.random() < 0.3
    reordered = "reorder" in kinds
    return Weather(
        latency_us=latency_us,
        jitter_us=20_000 if reordered and wild else jitter_us,
        loss=loss if "loss" in kinds else 0.0,
        doubled=doubled if "doubles" in kinds else 0.0,
        ordered=not reordered,
    )


@contextmanager
def squeezed(small: Mapping[str, int]) -> Iterator[None]:
    """These limits as small, until the end of the block."""
    usual = {name: getattr(limits, name) for name in small}
    for name, value in small.items():
        setattr(limits, name, value)
    try:
        yield
    finally:
        for name, value in usual.items():
            setattr(limits, name, value)
