"""Faults in splits: what each half takes along, who may serve, whose rows are whose, and what the map shows."""

from tests.mutants.mutant import Edit, Mutant

_HOST = "zkv/core/node/host.py"
_SCENARIOS = "tests/scenarios/test_scenarios.py"
_SPLITS = "tests/core/cluster/test_splits.py"
_CENSUS = "tests/core/node/test_census.py"
_OUTGROWN = "zkv/core/cluster/outgrown.py"
_HOT = "tests/core/cluster/test_outgrown.py"
_NO_SWING = "the simulator asks whether all is served and nothing is lost, not whether a split was worth it"

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
    Mutant(
        "a shard is as large as it was when it was last counted",
        "splits by size",
        "a shard that is filled at full speed is split long after it has outgrown every bound",
        (Edit("zkv/core/node/asked.py", "        if size:\n", "        if not size:\n"),),
        seeds=0,
        tests=(_CENSUS,),
        why="simulated tables are small",
    ),
    Mutant(
        "whatever is written makes a shard larger",
        "splits by size",
        "a shard whose rows are overwritten is cut to pieces",
        (Edit("zkv/core/node/growth.py", "key_bytes + len(stored) if stored is not None else 0", "0"),),
        seeds=0,
        tests=(_CENSUS,),
        why="simulated tables are small",
    ),
    Mutant(
        "nothing is known of a split's halves until they are counted",
        "splits by size",
        "a shard that is filled at full speed is split once, and then no more",
        (Edit("zkv/core/node/census.py", "if version + 1 == right.range_version:", "if not version:"),),
        seeds=0,
        tests=(_CENSUS,),
        why="simulated tables are small",
    ),
    Mutant(
        "what came while a shard was counted is forgotten",
        "splits by size",
        "a shard that is filled while it is counted seems smaller than it is",
        (Edit("zkv/core/node/census.py", "            self._spread.join(self._since)\n", ""),),
        seeds=0,
        tests=(_CENSUS,),
        why="simulated tables are small",
    ),
    Mutant(
        "a spike of requests splits a shard",
        "splits by load",
        "each rush leaves shards behind that nobody needs an hour later",
        (Edit(_OUTGROWN, "last_ms - first_ms >= hot_ms", "last_ms >= first_ms"),),
        seeds=0,
        tests=(_HOT,),
        why=_NO_SWING,
    ),
    Mutant(
        "what is evenly hot is split for ever",
        "splits by load",
        "the busier the cluster, the more shards, though each node has its share of the leads",
        (Edit(_OUTGROWN, "max(float(split_requests), HOT_SHARE * asked / nodes)", "float(split_requests)"),),
        seeds=0,
        tests=(_HOT,),
        why=_NO_SWING,
    ),
    Mutant(
        "the time before a split counts for its halves",
        "splits by load",
        "a hot shard is cut to pieces before anybody knows what its halves are asked",
        (Edit(_OUTGROWN, "first_ms if version == size.range_version else", "first_ms if version > 0 else"),),
        seeds=0,
        tests=(_HOT,),
        why=_NO_SWING,
    ),
    Mutant(
        "a shard is split beside its one hot key",
        "splits by load",
        "one half has nothing, the other is as hot as before, and is split again",
        (
            Edit(
                "zkv/core/node/samples.py",
                'return keys[place] if is_even else b""',
                "return keys[min(place, len(keys) - 1)]",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_samples.py",),
        why=_NO_SWING,
    ),
    Mutant(
        "keys that were asked for before a split are sampled after it",
        "splits by load",
        "a half is split where the whole was asked",
        (Edit("zkv/core/node/samples.py", "if held_version != version:", "if held_version < 0:"),),
        seeds=0,
        tests=("tests/core/node/test_samples.py",),
        why=_NO_SWING,
    ),
    Mutant(
        "keys are sampled at even distances",
        "splits by load",
        "of batches of one size one place alone is seen, and the shard is split there",
        (Edit("zkv/core/node/asked.py", "1 + (chance >> 16) % width", "self.every"),),
        seeds=0,
        tests=("tests/core/node/test_samples.py",),
        why=_NO_SWING,
    ),
    Mutant(
        "a leader that has fallen silent has said it for long enough",
        "splits by load",
        "a spike before a leader's death splits its shard",
        (Edit(_OUTGROWN, "(size.range_version, first_ms, now_ms)", "(size.range_version, first_ms, now_ms + 20_000)"),),
        seeds=0,
        tests=(_HOT,),
        why=_NO_SWING,
    ),
    Mutant(
        "a low bound for splits leaves that for merges as it is",
        "splits by load",
        "what was split for its requests is merged for want of them",
        (
            Edit(
                "zkv/core/cluster/cooling.py",
                "return min(COLD_REQUESTS, split_requests / PARTS) if split_requests else COLD_REQUESTS",
                "return COLD_REQUESTS",
            ),
        ),
        seeds=0,
        tests=(_HOT,),
        why=_NO_SWING,
    ),
    Mutant(
        "the averages of a shard outlive its split",
        "splits by load",
        "leads are handed over for requests that go elsewhere",
        (Edit("zkv/core/cluster/heard.py", "if own is None or own.version < version:", "if own is None:"),),
        seeds=0,
        tests=("tests/core/cluster/test_heard.py",),
        why=_NO_SWING,
    ),
)
