"""Faults in what splits shards by themselves: how large they are, how hot, and where they are to part."""

from tests.mutants.mutant import Edit, Mutant

_CENSUS = "tests/core/node/test_census.py"
_OUTGROWN = "zkv/core/cluster/outgrown.py"
_HOT = "tests/core/cluster/test_outgrown.py"
_NO_SWING = "the simulator asks whether all is served and nothing is lost, not whether a split was worth it"

OUTGROWN = (
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
