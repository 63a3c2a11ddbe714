"""The names that every floor uses for the same things."""

from typing import NewType

NodeId = NewType("NodeId", str)  # a process with one data folder, named by its operator: "node1"
ShardId = NewType("ShardId", int)  # given by the coordinator, never used twice; 0 is the coordinators' own group
ReplicaId = NewType("ReplicaId", int)  # given by the coordinator, never used twice in a cluster (rule 1)
TableId = NewType("TableId", int)
Space = NewType("Space", int)  # node-local number under which a replica's rows are stored; never used twice
ClientId = NewType("ClientId", bytes)  # 16 bytes: 6 of birth (big-endian ms), 10 random
