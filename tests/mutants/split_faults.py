"""Faults in splits: what each half takes along, who may serve, whose rows are whose, and what the map shows."""

from tests.mutants.mutant import Edit, Mutant

_HOST = "zkv/core/node/host.py"
_SCENARIOS = "tests/scenarios/test_scenarios.py"
_SPLITS = "tests/core/cluster/test_splits.py"

SPLITS = (
    Mutant(
        "sessions are not copied by a split",
        "13",
        "a retry that finds its key in the new shard is applied again",
        (
            Edit(
                _HOST,
                "            changes[session_key(sessions, client)] = records.encode(record)\n",
                "            pass\n",
            ),
        ),
        elastic=True,
    ),
    Mutant(
        "the version counter is not copied by a split",
        "15",
        "a condition meets a version twice",
        (
            Edit(
                _HOST,
                "records.Applied(*FIRST, parted.counter, parted.floor)",
                "records.Applied(*FIRST, 0, parted.floor)",
            ),
        ),
        elastic=True,
    ),
    Mutant(
        "a leader serves by its lease before it has applied its split",
        "8",
        "it answers for keys that the new shard's leader has written since",
        (
            Edit(
                "zkv/core/raft/leading.py",
                " or self.handover.ordered or self._log.splits:",
                " or self.handover.ordered:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="its own flush must outlast an election of the new shard, whose leader writes what is then read",
    ),
    Mutant(
        "a read that waited is answered whatever has become of the range",
        "14",
        "keys that belong to the new shard read as gone",
        (
            Edit(
                "zkv/core/node/service.py",
                "if refusal is not None:  # it has changed while the read waited",
                "if False:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a read must wait for a round while the split is applied",
    ),
    Mutant(
        "a new shard's log begins without the mark that its split is committed",
        "20",
        "a restart finds the log of a replica that its engine knows nothing of, and nothing brings it back",
        (Edit(_HOST, "LogItem(hosted.replica.id, commit=hosted.replica.committed)", "LogItem(hosted.replica.id)"),),
        elastic=True,
        tests=(_SCENARIOS,),
    ),
    Mutant(
        "a split that is applied anew makes its new shard anew",
        "20",
        "what the new shard has acknowledged is gone here, and its votes",
        (Edit(_HOST, "        if shard in self.awaited:\n", "        if False:\n"),),
        elastic=True,
        tests=(_SCENARIOS,),
    ),
    Mutant(
        "a checkpoint forgets whom a split is to bring back",
        "5",
        "what the new shard has acknowledged is gone here, and its votes",
        (Edit(_HOST, "for own, log in self.awaited.values():", "for own, log in ():"),),
        seeds=0,
        tests=("tests/core/node/test_checkpoint.py",),
        why="the engine must be flushed between a restart and the first turns after it",
    ),
    Mutant(
        "a node registers before all is back that splits have made",
        "1",
        "what it does not name passes for lost, and is replaced beside itself",
        (Edit("zkv/core/node/node.py", "if not self.host.awaited:  # what it", "if True:  # what it"),),
        seeds=0,
        tests=("tests/core/node/test_checkpoint.py",),
        why="its word must reach the coordinator, and the next one must not, before a plan is made of it",
    ),
    Mutant(
        "a replica dies before it has applied its split anew",
        "20",
        "what the new shard has acknowledged is gone here, and its votes",
        (Edit("zkv/core/node/node.py", "case _ if not self.host.awaited:", "case _:"),),
        seeds=0,
        tests=("tests/core/node/test_checkpoint.py",),
        why="the order to drop it must come in the first turn after a restart",
    ),
    Mutant(
        "who is late to apply a split gets a snapshot at once",
        "22",
        "half of each shard that is split is copied over the network",
        (Edit("zkv/core/node/transfers.py", "_BIRTH_MS: Final = 1_000", "_BIRTH_MS: Final = 0"),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="harmless but for the bytes",
    ),
    Mutant(
        "a drop takes the whole space",
        "20",
        "the rows of the other half are gone with it",
        (
            Edit(
                "zkv/core/node/residents.py",
                "self.effects.drops += machine.held_ranges()",
                "start = machine.row_ranges()[0][0][:9]\n"
                '        end = start[:1] + (int.from_bytes(start[1:], "big") + 1).to_bytes(8, "big")\n'
                '        self.effects.drops += [(start, end), numbered_range(b"s", machine.session_space)]',
            ),
        ),
        elastic=True,
    ),
    Mutant(
        "a late split overwrites what came by snapshot",
        "20",
        "what the new shard has acknowledged since is gone here",
        (
            Edit(
                _HOST,
                "held is None or (held.machine is None and not held.frozen and held.replica.id == replica)",
                "True",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a snapshot of the new shard must overtake the split itself: not in 40 seeds",
    ),
    Mutant(
        "a replica without state votes",
        "22",
        "it is made anew by a late split, and gives its vote twice",
        (Edit("zkv/core/raft/state.py", "return fits and bool(self.membership.version)", "return fits"),),
        seeds=0,
        tests=("tests/core/raft/test_replica_votes.py",),
        why="it must be let go after a vote, and made anew by the split within the same term",
    ),
    Mutant(
        "a split is not kept in the log for who lacks it",
        "22",
        "that node has no part in the new shard, which may find no majority when another node is lost",
        (
            Edit(
                _HOST,
                "free = min(free, self.held_back.get(replica.id, free), self._before_split(replica, free))",
                "free = min(free, self.held_back.get(replica.id, free))",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="two nodes must be lost one after the other around a split, with little room for tails",
    ),
    Mutant(
        "only the half that is left is shown",
        "24",
        "no shard of the map has the other keys",
        (
            Edit(
                "zkv/core/cluster/parting.py",
                "draft.put_shard(right_of(held, split.split))",
                "pass",
            ),
        ),
        elastic=True,
        tests=(_SPLITS,),
    ),
    Mutant(
        "a split that was called off is given up before its shard says so",
        "24",
        "a late order begins it, and no shard of the map has the other keys",
        (
            Edit(
                "zkv/core/cluster/parting.py",
                "        elif is_void(plan, parent):\n",
                "        elif plan.abandon or is_void(plan, parent):\n",
            ),
        ),
        elastic=True,
        tests=(_SPLITS,),
    ),
    Mutant(
        "a split of a range that has changed since is waited for",
        "24",
        "it is never done, and its shard is not split again",
        (
            Edit(
                "zkv/core/cluster/splits.py",
                " or held.range_version > wanted.range_version",
                "",
            ),
        ),
        seeds=0,
        tests=(_SPLITS,),
        why="the source of an abandoned merge must be split before it serves again: one seed in 200",
    ),
    Mutant(
        "a split that was called off begins by a late order",
        "24",
        "no shard of the map has the other keys",
        (
            Edit(
                "zkv/core/shard/split.py",
                "if info.membership.version != split.member_version:",
                "if info.membership.version < split.member_version:",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS, _SPLITS),
        why="the order must come after the plan has ended, and its leader must not have noticed",
    ),
    Mutant(
        "a replica that a split is still to make counts as lost",
        "1",
        "it is replaced for nothing",
        (
            Edit(
                "zkv/core/cluster/registrar.py",
                "is_expected = info.state == ShardState.ACTIVE and info.shard not in born_late",
                "is_expected = info.state == ShardState.ACTIVE",
            ),
        ),
        seeds=0,
        tests=(_SPLITS,),
        why="harmless: it is rebuilt on the same node, and the split then finds its place taken",
    ),
    Mutant(
        "a split is proposed whoever would not understand it",
        "16",
        "a node of the version before ends at an entry that it does not know",
        (
            Edit(
                "zkv/core/node/partings.py",
                "wrong_with(info, order.split) or self._not_understood(info, hosted.replica.id)",
                "wrong_with(info, order.split)",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_versions.py",),
        why="all processes of the simulator are of one version",
    ),
    Mutant(
        "what was counted before a split counts after it",
        "24",
        "a shard is split again and again for a size that it has no more",
        (
            Edit(
                "zkv/core/cluster/outgrown.py",
                "return size.range_version == info.range_version and info.owns(at)",
                "return info.owns(at)",
            ),
        ),
        seeds=0,
        tests=(_SPLITS,),
        why="simulated tables are small",
    ),
)
