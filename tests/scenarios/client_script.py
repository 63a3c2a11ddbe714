"""The commands of the client scenarios: one client's router against nodes that serve it as told.

`tests/core/routing/fake_cluster.py`: a range table whose shard 1 has the keys below m and is led by n1, and shard 2,
the others, led by n2; a coordinator c. Written down: what the client sends, and what its calls come to.

cluster [through n3] [window 8]  begins anew, connected and with a map; `through`: the client speaks to that node alone
put k v, get k, add k 2, putif k v 3, mput k=v x=y, each [in 300]    a call with a deadline in 300 ms (5,000 else)
run 100                          time passes
next WHAT                        what meets the next write group that arrives: `lost` (done, the answer is lost),
                                 `eaten` (it never arrives), or `REASON none|done|unknown` (it is refused)
next REASON none late            the same, but the refusal takes 500 ms on its way
lead 2 n3 [silently]             n3 leads shard 2 in the next term; `silently`: the map does not say so yet
map                              the map says everything that is so
split 1 at f                     shard 1 parts at f; the upper half becomes the next shard
deaf n1, kill n1, revive n1      it takes messages and never answers; it dies, and its connections break; it is back
broadcast off|on, beacon         the broadcast is cut; is whole; says the map's version
applied                          what was applied, in order, each application
"""

from collections.abc import Callable

from tests.core.routing.fake_cluster import Call, FakeCluster
from tests.core.routing.fake_shards import COORDINATOR, EATEN, LOST
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.frames import Answers, Requests
from zkv.core.cluster.shardmap import MapDelta, Partitioner
from zkv.core.message import Message
from zkv.core.routing import operations as op
from zkv.core.routing.operations import Receipt
from zkv.core.shard.commands import (
    Answer,
    Delete,
    Group,
    Increment,
    Operation,
    PutIf,
    ReadGroup,
    Reason,
    Refused,
    ScanGroup,
    WriteGroup,
)
from zkv.errors import ZkvError
from zkv.ids import NodeId

_LATER = int.from_bytes(b"\x0f" * 6, "big")  # a birth after every clock's present
_EFFECTS = {"none": 0, "done": 1, "unknown": 2}


class Script:
    """One scenario's client, driven by text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._usual: dict[str, int] = {}
        self._do_cluster()

    def run(self, command: str) -> list[str]:
        """Everything that came of one command, a line each."""
        self._lines = []
        verb, *words = command.split()
        getattr(self, f"_do_{verb}")(*words)
        return self._lines

    def close(self) -> None:
        """Limits are as usual again."""
        for name, value in self._usual.items():
            setattr(limits, name, value)

    # Commands

    def _do_cluster(self, *words: str) -> None:
        given = dict(zip(words[::2], words[1::2], strict=True))
        if "window" in given:
            self._usual.setdefault("WINDOW_SEQUENCES", limits.WINDOW_SEQUENCES)
            limits.WINDOW_SEQUENCES = int(given["window"])
        through = given.get("through")
        addresses = (f"{through}:1",) if through else (COORDINATOR,)
        self._cluster = FakeCluster(
            partitioner=Partitioner.RANGE, splits=(b"m",), given=addresses, direct=through is None
        )
        self._calls: list[tuple[str, Call]] = []
        self._faults: list[Callable[[str, Group], Answer | str]] = []
        self._cluster.fault = self._fault
        self._cluster.run(for_ms=200)
        self._origin_ms = self._cluster.now_ms
        self._told = len(self._cluster.sent)

    def _do_put(self, key: str, value: str, *words: str) -> None:
        self._ask(f"put {key}", op.put(key, value), words)

    def _do_putif(self, key: str, value: str, version: str, *words: str) -> None:
        self._ask(f"putif {key}", op.put(key, value, if_version=int(version)), words)

    def _do_add(self, key: str, by: str, *words: str) -> None:
        self._ask(f"add {key}", op.increment(key, int(by)), words)

    def _do_get(self, key: str, *words: str) -> None:
        self._ask(f"get {key}", op.get(key), words)

    def _do_mput(self, *words: str) -> None:
        pairs = dict(word.split("=") for word in words if "=" in word)
        self._ask(f"mput {' '.join(pairs)}", op.mput(pairs), tuple(word for word in words if "=" not in word))

    def _do_run(self, milliseconds: str) -> None:
        end_ms = self._cluster.now_ms + int(milliseconds)
        while self._cluster.now_ms < end_ms:
            self._cluster.run(for_ms=1)
            self._note()

    def _do_next(self, what: str, effect: str = "", late: str = "") -> None:
        def fault(address: str, group: Group) -> Answer | str:
            if what in (LOST, EATEN):
                return what
            floor = b"\x0f" * 6 if what == Reason.SESSION_EXPIRED.name else b""
            refused = Refused(group.id, Reason[what], _EFFECTS[effect], "as the script says", 10, None, floor)
            if not late:
                return refused
            node = NodeId(address.partition(":")[0])
            self._cluster.answer(address, Answers(self._cluster.version, node, (refused,)), after_ms=500)
            return EATEN

        self._faults.append(fault)

    def _do_lead(self, shard: str, node: str, silently: str = "") -> None:
        self._cluster.lead(int(shard), node, publish=not silently)

    def _do_map(self) -> None:
        cluster = self._cluster
        infos = tuple(shard.info for shard in cluster.shards.values())
        cluster.publish(MapDelta(1, cluster.version + 1, shards=infos))

    def _do_split(self, shard: str, _at: str, key: str) -> None:
        self._cluster.split(int(shard), key.encode())

    def _do_deaf(self, node: str) -> None:
        self._cluster.deaf.add(f"{node}:1")

    def _do_kill(self, node: str) -> None:
        self._cluster.kill(f"{node}:1")

    def _do_revive(self, node: str) -> None:
        self._cluster.deaf.discard(f"{node}:1")
        self._cluster.revive(f"{node}:1")

    def _do_broadcast(self, word: str) -> None:
        self._cluster.broadcasting = word == "on"

    def _do_beacon(self) -> None:
        self._cluster.beacon()

    def _do_applied(self) -> None:
        self._lines += [f"shard {shard}: {_operation(operation)}" for shard, operation in self._cluster.effects]

    # What they share

    def _ask(self, name: str, request: op.KeyRequest[object], words: tuple[str, ...]) -> None:
        timeout_ms = int(words[1]) if words[:1] == ("in",) else 5_000
        told = op.with_receipt(request) if request.single else request
        self._calls.append((name, self._cluster.ask(told, timeout_ms=timeout_ms)))

    def _fault(self, address: str, group: Group) -> Answer | str | None:
        if not isinstance(group, WriteGroup) or not self._faults:
            return None
        answer = self._faults.pop(0)(address, group)
        what = answer if isinstance(answer, str) else answer.reason.name if isinstance(answer, Refused) else "?"
        self._lines.append(f"{self._at()}   {address[:-2]} {what} #{group.id}")
        return answer

    def _note(self) -> None:
        """What was sent since, and what ended."""
        for address, message in self._cluster.sent[self._told :]:
            self._lines += [f"{self._at()} -> {address[:-2]} {line}" for line in _message(message)]
        self._told = len(self._cluster.sent)
        for name, call in [entry for entry in self._calls if entry[1].done]:
            self._lines.append(f"{self._at()} {name}: {_outcome(call.outcome)}")
        self._calls = [entry for entry in self._calls if not entry[1].done]

    def _at(self) -> str:
        return f"{self._cluster.now_ms - self._origin_ms:5}"


def _message(message: Message) -> list[str]:
    match message:
        case Requests():
            passing = ", to be passed on" if message.forwarding else ""
            return [f"{_group(group)} (map {message.map_version}{passing})" for group in message.groups]
        case m.MapRequest():
            return ["the map, please"]
        case m.Hello():
            return ["hello"]
        case _:
            return [type(message).__name__]


def _group(group: Group) -> str:
    match group:
        case WriteGroup():
            last = group.first + len(group.operations) - 1
            numbers = f"{group.first}" if last == group.first else f"{group.first}-{last}"
            retry = " again" if group.retry else ""
            text = ", ".join(map(_operation, group.operations))
            born = int.from_bytes(group.client[:6], "big")
            client = "" if born < _LATER else " as a client born later,"
            return f"#{group.id} shard {group.shard} range {group.range_version}:{client} {numbers}{retry} {text}"
        case ReadGroup():
            keys = " ".join(key.decode() for key in group.keys)
            return f"#{group.id} shard {group.shard} range {group.range_version}: reads {keys}"
        case ScanGroup():
            return f"#{group.id} shard {group.shard}: scans"


def _operation(operation: Operation) -> str:
    key = operation.key.decode()
    match operation:
        case Delete():
            return f"-{key}"
        case Increment():
            return f"{key}+{operation.by}"
        case PutIf():
            return f"{key}={operation.value.decode()} if {operation.version}"
        case _:
            return f"{key}={operation.value.decode()}"


def _outcome(outcome: object) -> str:
    match outcome:
        case ZkvError():
            return f"{type(outcome).__name__}, effect {outcome.effect}: {outcome.what}"
        case Receipt():
            result = outcome.result.decode() if isinstance(outcome.result, bytes) else outcome.result
            return f"{result} (version {outcome.version}, shard {outcome.shard} on {outcome.node})"
        case _:
            return str(outcome)
