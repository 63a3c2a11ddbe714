"""Every operation of every client is applied at most once, whatever shard its key was in by then (promise 4).

A number names one operation, whichever shards it is sent to while its shard is split. What a shard remembers of an
applied operation is its result, with a version that no other operation gets. So the first result that is seen of
(client, sequence) is its only one: were it applied again, it would have another version.
"""

from zkv.core.node.host import Hosted
from zkv.core.node.residents import M
from zkv.core.raft.messages import Entry, EntryKind
from zkv.core.shard.commands import Result
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.records import decode_batch
from zkv.ids import ClientId, ShardId
from zkv.sim.world import Violation


class AppliedOnce:
    """All results that were seen, of all shards."""

    def __init__(self) -> None:
        self._results: dict[tuple[bytes, int], tuple[ShardId, Result]] = {}

    def look(self, name: str, hosted: Hosted[M], entry: Entry) -> None:
        """A replica on node `name` has just applied the entry. Raises Violation."""
        machine = hosted.machine
        if not isinstance(machine, ShardMachine) or entry.kind != EntryKind.BATCH:
            return
        for group in decode_batch(entry.payload):
            for sequence in range(group.first, group.first + len(group.operations)):
                result = machine.sessions.result(ClientId(group.client), sequence)
                if result is None:
                    continue  # refused, or forgotten by a later entry of the same turn
                shard, known = self._results.setdefault((group.client, sequence), (hosted.shard, result))
                if known != result:
                    what = f"operation {sequence} of client {group.client.hex()}"
                    twice = f"to shard {shard} as {known}, and at {name} to shard {hosted.shard} as {result}"
                    raise Violation(f"{what} was applied twice: {twice}")
