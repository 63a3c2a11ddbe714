"""The commands of the shard scenarios: three nodes (`tests/core/node/trio.py`), one shard, and clients.

trio                        n1, n2 and n3 with replicas 11, 12 and 13; n1 leads by a lease. Begins anew
write n1 7 PUTS [WITH...]   a client's write group arrives at n1: operations from number 7 on, parted by commas,
                            `k=v`, `k=v if 3`, `k+2`, `-k`, `-k if 3`. WITH: `retry`, `lowest=5`, `w=1`, `w=all`,
                            `range=1`, `client=b`, `budget=300`, `unforwarded`, `shard=2`
read n2 k [any] [range=2]   and a read
run 50                      time passes, in steps of 5 ms
slow n2, fast n2, flush n2  its flushes end only when told to; they end by themselves again; the one in flight ends
pause n1, resume n1         its process is stopped; goes on
cut n1 [n2], heal           nothing passes between n1 and all others (or n2), both ways
hold n1 n2, pass n1 n2      frames from n1 to n2 wait; frames pass again, and overtake those that wait
release                     nothing waits any more, and what waited arrives
crash n1 [empty]            power off and on; `empty`: with another folder
sync n1                     its rows reach the disk, as they do by themselves from time to time
full n1, roomy n1           its disk is full; has room again
map n1 leader 12 term 3     its map calls another replica the leader; `map`: every map is told of the nodes as they are
member n1 learn 14 n2 1     the coordinator orders n1 to change a member, at membership version 1
transfer n1 12              and to hand over
split n1 m 1                it orders n1 to split its shard at m, where shard 2 with replicas 21, 22 and 23 begins, at
                            membership version 1; `split n1 t 1 2`: shard 2, where shard 3 begins, with 31, 32 and 33
merge n1 7 [MAX]            it orders n1 to merge shard 2 into shard 1, as merge 7: for their versions as they are. MAX:
                            a source of more bytes is not merged
again n1, abandon n1         it orders the same merge once more; or n1 to abandon it, whatever it came to
create n2 14                and n2 to create a replica; `drop n2 12` to delete one
forget n1                   n1's log in memory begins after what is applied
limit NAME 100              a limit is so small until the scenario ends
status, rows                what everybody holds

Written down: log items, snapshots, forwards, answers, deletions, events and who leads. Raft's own messages are not:
`raft/` has them.
"""

import re

import msgspec
from shard_told import members, told

from tests.core.node.trio import CLUSTER, NAMES, SHARD, Machine, Trio
from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.node.node import Turn
from zkv.core.raft.messages import Member, Membership
from zkv.core.shard.commands import (
    Delete,
    Increment,
    Operation,
    Put,
    PutIf,
    ReadGroup,
    WriteGroup,
)
from zkv.core.shard.descriptor import ShardInfo
from zkv.core.shard.merge import (
    Merge,
)
from zkv.core.shard.pieces import scan
from zkv.core.shard.rows import unpack_row
from zkv.core.shard.split import Split
from zkv.ids import NodeId, ReplicaId, ShardId

RIGHT = ShardId(2)  # what a split of the shard makes

_PUT = re.compile(r"^(\w+)=(\w*)(?: if (\d+))?$")
_ADD = re.compile(r"^(\w+)\+(-?\d+)$")
_DELETE = re.compile(r"^-(\w+)(?: if (\d+))?$")


class Stage(Trio):
    """Three nodes whose frames can be held back."""

    def __init__(self) -> None:
        self.holding: set[tuple[str, str]] = set()
        self.held: list[tuple[str, bytes]] = []
        super().__init__()

    def release(self) -> None:
        """What was held arrives."""
        self.holding.clear()
        for target, body in self.held:
            self.machines[target].inbox.append(body)
        self.held.clear()

    def _send(self, machine: Machine, target: NodeId, incarnation: int, messages: list[object]) -> None:
        before = len(self.machines[target].inbox) if target in self.machines else 0
        super()._send(machine, target, incarnation, messages)
        if (machine.name, target) in self.holding and len(self.machines[target].inbox) > before:
            self.held.append((target, self.machines[target].inbox.pop()))


class Script:
    """One scenario's three nodes, driven by text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._leading: str = ""
        self._usual: dict[str, int] = {}
        self._do_trio()

    def run(self, command: str) -> list[str]:
        """Everything that came of one command, a line each."""
        self._lines = []
        verb, _, rest = command.partition(" ")
        getattr(self, f"_do_{verb}")(*rest.split())
        return self._lines

    def close(self) -> None:
        """Limits are as usual again."""
        for name, value in self._usual.items():
            setattr(limits, name, value)

    # Commands

    def _do_trio(self) -> None:
        self._stage = stage = Stage()
        leader = stage.leader()
        if leader != "n1":
            self._order(leader, m.TransferLeader(SHARD, ReplicaId(11)))
            stage.run(lambda: stage.leads("n1"))
        for machine in stage.machines.values():
            machine.node.from_coordinator(m.Registered(CLUSTER, stage.map()))
        stage.pass_ms(200)
        self._origin_ms = stage.now_ms
        self._leading = self._who_leads()
        stage.watch = self._note
        self._lines = []

    def _do_write(self, name: str, first: str, *words: str) -> None:
        text, given = _options(words)
        operations = tuple(_operation(one.strip()) for one in text.split(","))
        copies = int(given.get("w", "-1").replace("all", "0"))
        group = WriteGroup(
            int(first),
            ShardId(int(given.get("shard", SHARD))),
            int(given.get("range", "1")),
            int(given.get("budget", "5000")),
            _client(given.get("client", "a")),
            int(first),
            int(given.get("lowest", "1")),
            copies,
            "retry" in given,
            operations,
        )
        self._arrive(name, group, forwarding="unforwarded" not in given)

    def _do_read(self, name: str, *words: str) -> None:
        given = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
        keys = tuple(word.encode() for word in words if word not in ("any", "unforwarded") and "=" not in word)
        shard = ShardId(int(given.get("shard", SHARD)))
        group = ReadGroup(900, shard, int(given.get("range", "1")), 5_000, "any" in words, keys)
        self._arrive(name, group, forwarding="unforwarded" not in words)

    def _do_run(self, milliseconds: str) -> None:
        for _ in range(int(milliseconds) // 5):
            self._stage.turn(5)
            self._note_leader()

    def _do_slow(self, name: str) -> None:
        self._stage.machines[name].slow_disk = True

    def _do_fast(self, name: str) -> None:
        self._stage.machines[name].slow_disk = False

    def _do_flush(self, name: str) -> None:
        assert self._stage.machines[name].in_flight is not None, f"no flush of {name} is in flight"
        self._stage.finish_flush(name)

    def _do_pause(self, name: str) -> None:
        self._stage.machines[name].paused = True

    def _do_resume(self, name: str) -> None:
        self._stage.machines[name].paused = False

    def _do_cut(self, name: str, *others: str) -> None:
        for other in others or self._stage.others(name):
            self._stage.cut(name, other)

    def _do_heal(self) -> None:
        self._stage.heal()

    def _do_hold(self, source: str, target: str) -> None:
        self._stage.holding.add((source, target))

    def _do_pass(self, source: str, target: str) -> None:
        self._stage.holding.discard((source, target))

    def _do_release(self) -> None:
        self._stage.release()

    def _do_crash(self, name: str, word: str = "") -> None:
        self._stage.crash(name, empty=word == "empty")
        self._leading = self._who_leads()

    def _do_sync(self, name: str) -> None:
        self._stage.machines[name].rows.flush()

    def _do_full(self, name: str) -> None:
        self._stage.machines[name].node.disk_is(full=True)

    def _do_roomy(self, name: str) -> None:
        self._stage.machines[name].node.disk_is(full=False)

    def _do_map(self, name: str = "", _leader: str = "", replica: str = "0", _term: str = "", term: str = "0") -> None:
        stage = self._stage
        if not name:
            stage.map_version += 1
            for machine in stage.machines.values():
                stage.tell_map(machine)
            return
        shard_map = stage.machines[name].node.follower.map
        assert shard_map is not None
        held = shard_map.shards[SHARD]
        told = msgspec.structs.replace(held, leader=ReplicaId(int(replica)), term=int(term))
        assert shard_map.learn(told), f"it is no news for {name}, which holds {held}"

    def _do_member(self, name: str, action: str, replica: str, node: str, expected: str) -> None:
        member = Member(ReplicaId(int(replica)), NodeId(node), self._stage.machines[node].incarnation)
        self._order(name, m.ChangeMember(SHARD, int(expected), action, member))

    def _do_transfer(self, name: str, replica: str) -> None:
        number = ReplicaId(int(replica))
        self._order(name, m.TransferLeader(RIGHT if number > 20 else SHARD, number))

    def _do_split(self, name: str, at: str, expected: str, number: str = "1") -> None:
        shard = int(number)
        homes = [(NodeId(own), machine.incarnation) for own, machine in self._stage.machines.items()]
        members = tuple(Member(ReplicaId(10 * (shard + 1) + place), *home) for place, home in enumerate(homes, 1))
        split = Split(at.encode(), shard, int(expected), ShardId(shard + 1), Membership(1, members))
        self._order(name, m.SplitShard(ShardId(shard), split))

    def _do_merge(self, name: str, number: str, most: str = "1000000") -> None:
        self._merge = self._planned(int(number), int(most))
        self._order(name, m.MergeShard(self._merge))

    def _do_again(self, name: str) -> None:
        self._order(name, m.MergeShard(self._merge))

    def _do_abandon(self, name: str) -> None:
        self._order(name, m.MergeShard(self._merge, abandon=True))

    def _planned(self, number: int, most: int) -> Merge:
        left, right = self._newest(SHARD), self._newest(RIGHT)
        versions = (left.range_version, right.range_version, right.membership.version)
        return Merge(number, SHARD, RIGHT, left.end, right.end, *versions, right.membership, most, 1)

    def _newest(self, shard: ShardId) -> ShardInfo:
        held = [machine.node.host.hosted.get(shard) for machine in self._stage.machines.values()]
        infos = [one.machine.info for one in held if one is not None and one.machine is not None]
        return max(infos, key=lambda info: info.range_version)

    def _do_create(self, name: str, replica: str) -> None:
        self._order(
            name, m.CreateReplica(self._stage.machines[name].incarnation, ReplicaId(int(replica)), self._stage.info)
        )

    def _do_drop(self, name: str, replica: str) -> None:
        number = ReplicaId(int(replica))
        shard = RIGHT if number > 20 else SHARD
        self._order(name, m.DropShard(self._stage.machines[name].incarnation, shard, number))

    def _do_forget(self, name: str) -> None:
        for hosted in self._stage.machines[name].node.host.hosted.values():
            hosted.replica.forget(hosted.replica.applied)

    def _do_limit(self, name: str, value: str) -> None:
        self._usual.setdefault(name, getattr(limits, name))
        setattr(limits, name, int(value))

    def _do_status(self) -> None:
        for name, machine in self._stage.machines.items():
            held = [f"{'stopped, ' if machine.paused else ''}folder {machine.incarnation}"]
            for hosted in machine.node.host.hosted.values():
                replica = hosted.replica
                held.append(
                    f"replica {replica.id} {replica.role.name} term {replica.term} last {replica.last.index}@"
                    f"{replica.last.term} on disk {replica.persisted_index} committed {replica.committed} "
                    f"applied {replica.applied} members {members(replica.membership)} "
                    f"space {hosted.machine.pieces.space if hosted.machine else '-'}"
                )
            self._lines.append(f"{name}: {'; '.join(held)}")

    def _do_rows(self) -> None:
        for name, machine in self._stage.machines.items():
            for hosted in machine.node.host.hosted.values():
                if hosted.machine is not None:
                    found = scan(machine.rows, hosted.machine.row_ranges())
                    rows = [(key[9:].decode(), unpack_row(value)) for key, value in found]
                    told = " ".join(f"{key}={row.value.decode()}@{row.version}" for key, row in rows)
                    which = "" if hosted.shard == SHARD else f" shard {hosted.shard}:"
                    self._lines.append(f"{name}:{which} {told or 'nothing'}; counter {hosted.machine.counter}")

    # What they share

    def _arrive(self, name: str, group: WriteGroup | ReadGroup, *, forwarding: bool) -> None:
        self._stage.queue(name, group, forwarding=forwarding)

    def _order(self, name: str, order: m.Order) -> None:
        self._stage.machines[name].node.from_coordinator(order)

    def _note(self, name: str, turn: Turn) -> None:
        self._lines += [f"{self._at()} {name} {line}" for line in told(turn)]

    def _note_leader(self) -> None:
        leading = self._who_leads()
        if leading != self._leading:
            self._leading = leading
            self._lines.append(f"{self._at()} = {leading or 'nobody leads'}")

    def _at(self) -> str:
        return f"{self._stage.now_ms - self._origin_ms:5}"

    def _who_leads(self) -> str:
        leading = []
        for name in NAMES:
            for shard, hosted in sorted(self._stage.machines[name].node.host.hosted.items()):
                if hosted.replica.role.name == "LEADER":
                    which = "" if shard == SHARD else f" shard {shard} in"
                    leading.append(f"{name} leads{which} term {hosted.replica.term}")
        return ", ".join(leading)


def _operation(text: str) -> Operation:
    if found := _PUT.match(text):
        key, value, version = found[1].encode(), found[2].encode(), found[3]
        return Put(key, value) if version is None else PutIf(key, value, int(version))
    if found := _ADD.match(text):
        return Increment(found[1].encode(), int(found[2]))
    found = _DELETE.match(text)
    assert found is not None, f"no operation: {text!r}"
    return Delete(found[1].encode(), -1 if found[2] is None else int(found[2]))


def _options(words: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The operations' text, and the words that say how they are asked."""
    names = ("retry", "unforwarded", "lowest=", "w=", "range=", "client=", "budget=", "shard=")
    given = [word for word in words if word.startswith(names)]
    text = " ".join(word for word in words if word not in given)
    return text, {word.partition("=")[0]: word.partition("=")[2] for word in given}


def _client(letter: str) -> bytes:
    """A client whose birth is the letter, so that a was born before b."""
    return bytes(5) + letter.encode() + b"client id" + letter.encode()
