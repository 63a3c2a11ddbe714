"""Which machine a replica's entries are applied to: that of its table's partitioner."""

from functools import partial

from zkv.core.cluster.partition import partition_of, user_key
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.shard import records
from zkv.core.shard.machine import ShardMachine
from zkv.core.shard.rows import Rows
from zkv.ids import ReplicaId


def make_machine(rows: Rows, replica: ReplicaId, descriptor: records.Descriptor) -> ShardMachine:
    """The machine of one replica, as its rows are."""
    partitioner = Partitioner(descriptor.info.partitioner)
    return ShardMachine(replica, descriptor, rows, partition_of(partitioner), partial(user_key, partitioner))
