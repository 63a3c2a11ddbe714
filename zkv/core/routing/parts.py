"""The two things that a router keeps while a call runs: parts of calls, and attempts to get parts answered."""

from zkv.core.routing.operations import KeyRequest
from zkv.core.routing.session import Run
from zkv.core.shard.descriptor import ShardInfo
from zkv.errors import Timeout, ZkvError

NEVER = 1 << 62  # milliseconds


class Part:
    """Those items of one request that go to one shard together. A single-key request is one part.

    `first`: its items have the sequence numbers from here on; 0: none given yet. `open`: attempts that were sent and
    not answered. `doubt`: an attempt ended without saying that it had no effect. `tries`: attempts that failed.
    `hops`: re-routes since the last pause. `lost`: attempts in a row without any answer. `detail` and `blame`: what the
    last failed attempt said, and the error that it makes if it was the last. `info`: the shard it was last sent to.
    `alone`: it must not share a group, for the last one was too large.
    """

    __slots__ = (
        "alone",
        "blame",
        "detail",
        "done",
        "doubt",
        "first",
        "hops",
        "info",
        "items",
        "lost",
        "open",
        "request",
        "run",
        "size",
        "tries",
    )

    def __init__(self, request: KeyRequest[object], items: tuple[object, ...], size: int) -> None:
        self.request = request
        self.items = items
        self.size = size
        self.first = 0
        self.run: Run | None = None
        self.info: ShardInfo | None = None
        self.open = 0
        self.tries = 0
        self.hops = 0
        self.lost = 0
        self.doubt = False
        self.done = False
        self.alone = False
        self.detail = ""
        self.blame: type[ZkvError] = Timeout

    @property
    def may_have_happened(self) -> bool:
        """Whether some attempt may have had an effect, as far as is known."""
        return self.doubt or self.open > 0

    def cut(self, position: int) -> "Part":
        """Keep the items before `position`; return a part with the others, under their own numbers."""
        share = len(self.items) - position
        rest = Part(self.request, self.items[position:], self.size * share // len(self.items))
        rest.take_history(self)
        if self.first:
            rest.first = self.first + position
        self.items = self.items[:position]
        self.size -= rest.size
        # An attempt under way names this part with its old items: its answer cannot be told apart any more.
        self.doubt = self.doubt or self.open > 0
        self.open = 0
        return rest

    def take_history(self, other: "Part") -> None:
        """Be as old and as doubtful as `other`."""
        self.run, self.tries, self.lost = other.run, other.tries, other.lost
        self.detail, self.blame = other.detail, other.blame
        self.doubt = other.may_have_happened


class Attempt:
    """One group on its way. `spans` are (part, number of items) in the group's order, `count` is of all items.

    `superseded`: its parts were sent again meanwhile; a late answer still counts, its silence does not.
    """

    __slots__ = (
        "address",
        "count",
        "forwarded",
        "id",
        "info",
        "kind",
        "sent_ms",
        "spans",
        "superseded",
        "timeout_ms",
    )

    def __init__(self, number: int, kind: int, address: str, info: ShardInfo, parts: list[Part]) -> None:
        self.id = number
        self.kind = kind
        self.address = address
        self.info = info
        self.spans = [(part, len(part.items)) for part in parts]
        self.count = sum([count for _, count in self.spans]) if len(parts) > 1 else self.spans[0][1]
        self.superseded = False
        self.forwarded = False
        self.sent_ms = 0
        self.timeout_ms = 0

    def live_parts(self) -> list[Part]:
        """The parts that still wait and are what they were when this was sent."""
        return [part for part, count in self.spans if not part.done and len(part.items) == count]
