"""A network that delays, loses, doubles and reorders, and that can be cut in any direction.

What is sent is bytes, encoded by the real codec. Between two ends each lane (messages, bulk, broadcast, ...) is a
connection of its own: in order, unless the weather says otherwise. A cut link either drops, or holds what is sent and
delivers it, stale, when it heals, as TCP does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import log
from random import Random
from typing import Literal, NamedTuple
from zlib import crc32

from zkv.sim.world import World


class Arrival(NamedTuple):
    """One frame, as it comes to its target."""

    lane: str
    sender: bytes  # the routing id that the target's socket would show
    body: bytes


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network behaves while nothing is cut."""

    latency_us: int = 150
    jitter_us: int = 200  # the mean of what is added to each message
    loss: float = 0.0
    doubled: float = 0.0
    ordered: bool = True


CALM = Weather()
Link = tuple[str, str]  # source, target
Cut = Literal["drop", "hold"]


class Network:
    """All links between named ends."""

    def __init__(self, world: World, weather: Weather) -> None:
        self.weather = weather
        self.sent = 0
        self.lost = 0
        self._world = world
        self._rngs: dict[Link, Random] = {}
        self._ends: dict[str, Callable[[Arrival], None]] = {}
        self._cuts: dict[Link, Cut] = {}
        self._slow: dict[Link, int] = {}
        self._held: list[tuple[str, str, Arrival]] = []
        self._last_us: dict[tuple[str, str, str], int] = {}
        self._broken: dict[Link, int] = {}  # when the link last broke: what was under way then is lost

    def connect(self, name: str, receive: Callable[[Arrival], None]) -> None:
        """Frames for `name` go there from now on."""
        self._ends[name] = receive

    def send(self, source: str, target: str, arrival: Arrival, *, doubled: bool = True) -> None:
        """One frame on its way. `doubled` False: of a kind that no network doubles, as a request on one connection."""
        self.sent += 1
        rng, weather = self._rng(source, target), self.weather
        cut = self._cuts.get((source, target))
        if cut == "hold":
            self._held.append((source, target, arrival))
            return
        if cut == "drop" or (weather.loss and rng.random() < weather.loss):
            self.lost += 1
            return
        copies = 2 if doubled and weather.doubled and rng.random() < weather.doubled else 1
        for _ in range(copies):
            self._deliver_later(source, target, arrival)

    def cut(self, links: Iterable[Link], how: Cut) -> None:
        """From now on nothing passes these links."""
        self._cuts.update(dict.fromkeys(links, how))

    def slow(self, source: str, target: str, extra_us: int) -> None:
        """From now on everything from source to target takes this much longer."""
        self._slow[source, target] = extra_us

    def break_link(self, source: str, target: str) -> None:
        """The connection breaks and is made anew: what is under way is lost."""
        self._broken[source, target] = self._world.now_us
        self._held = [held for held in self._held if held[:2] != (source, target)]

    def mend(self, links: Iterable[Link]) -> None:
        """These links work again, and what they held arrives."""
        mended = set(links)
        for link in mended:
            self._cuts.pop(link, None)
        released = [held for held in self._held if held[:2] in mended]
        self._held = [held for held in self._held if held[:2] not in mended]
        self._release(released)

    def heal(self) -> None:
        """Every link works again, and what was held arrives."""
        self._cuts.clear()
        self._slow.clear()
        released, self._held = self._held, []
        self._release(released)

    def _rng(self, source: str, target: str) -> Random:
        """Chance of this link alone: what happens on one does not change the draws of another."""
        rng = self._rngs.get((source, target))
        if rng is None:
            rng = self._rngs[source, target] = self._world.rng(f"link {source} {target}")
        return rng

    def _release(self, released: list[tuple[str, str, Arrival]]) -> None:
        for source, target, arrival in released:
            self._deliver_later(source, target, arrival)

    def _deliver_later(self, source: str, target: str, arrival: Arrival) -> None:
        world, weather = self._world, self.weather
        waited = -log(1.0 - self._rng(source, target).random())  # as `expovariate` draws it
        at_us = world.now_us + weather.latency_us + int(waited * weather.jitter_us)
        if self._slow:
            at_us += self._slow.get((source, target), 0)
        if weather.ordered:
            lane = (source, target, arrival.lane)
            last_us = self._last_us.get(lane, 0)
            if at_us <= last_us:
                at_us = last_us + 1
            self._last_us[lane] = at_us
        world.at(at_us, partial(self._deliver, source, target, arrival, world.now_us))

    def _deliver(self, source: str, target: str, arrival: Arrival, sent_us: int) -> None:
        if self._broken and self._broken.get((source, target), -1) >= sent_us:
            self.lost += 1
            return
        self._world.trace(f"{source}>{target} {arrival.lane} {crc32(arrival.body)}".encode())
        self._ends[target](arrival)


def both_ways(name: str, others: Iterable[str]) -> list[Link]:
    """The links from one end to others and back."""
    return [link for other in others for link in ((name, other), (other, name))]
