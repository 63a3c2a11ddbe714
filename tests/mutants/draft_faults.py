"""Faults in what a broken snapshot leaves behind, and in how the next one goes on with it."""

from tests.mutants.mutant import Edit, Mutant

_SHARD = "tests/core/shard/test_draft.py"
_NODE = "tests/core/node/test_drafts.py"
_DRAFT = "zkv/core/shard/draft.py"
_INCOMING = "zkv/core/shard/incoming.py"
_RESIDENTS = "zkv/core/node/residents.py"
_TRANSFERS = "zkv/core/node/transfers.py"

_RARE = "a stream must break off, and rows of what has come must change before the next one"

DRAFTS = (
    Mutant(
        "a changed piece of a draft is kept",
        "20",
        "a replica goes live with rows as they were",
        (Edit(_DRAFT, "if own is None or digest_of(own) != wanted:", "if own is None:"),),
        seeds=0,
        tests=(_SHARD, _NODE),
        why=_RARE,
    ),
    Mutant(
        "deleted rows of a piece stay",
        "20",
        "a replica goes live with rows that are no more",
        (
            Edit(
                _DRAFT,
                "        changes.update((row_key(space, key), None) for key, _ in own or ())",
                "        assert own != [()]",
            ),
        ),
        seeds=0,
        tests=(_SHARD, _NODE),
        why=_RARE,
    ),
    Mutant(
        "a large part that was deleted stays",
        "20",
        "likewise, where the draft has so much more that it is not read",
        (Edit(_INCOMING, "return None if self.damaged else found.excess", "return None if self.damaged else []"),),
        seeds=0,
        tests=(_SHARD,),
        why=_RARE,
    ),
    Mutant(
        "a stream may pass over the draft",
        "20",
        "what nobody compared goes live",
        (Edit(_INCOMING, " or not self._has_covered_the_draft:", ":"),),
        seeds=0,
        tests=(_SHARD,),
        why="no sender does that",
    ),
    Mutant(
        "rows that came in the same turn are behind the draft",
        "20",
        "those of them that were deleted since go live",
        (
            Edit(
                _TRANSFERS,
                "reached = ended.reached if ended is not None else reach(self._host.rows, space)",
                "reached = reach(self._host.rows, space)",
            ),
        ),
        seeds=0,
        tests=(_NODE,),
        why="an offer must come in the same turn as a chunk of the stream that it ends",
    ),
    Mutant(
        "a draft is kept after its replica is gone",
        "20",
        "rows that are nobody's take up the disk",
        (
            Edit(
                _RESIDENTS,
                "        self.drop_draft(replica)\n        self.after_engine_flush(",
                "        self.after_engine_flush(",
            ),
        ),
        seeds=0,
        tests=(_NODE,),
        why="it goes by itself ten minutes later",
    ),
    Mutant(
        "a draft is still one when it has gone live",
        "20",
        "the replica's rows are deleted as a draft that nobody goes on with",
        (Edit(_RESIDENTS, "        self.drafts.end(replica.id, changes)\n", ""),),
        seeds=0,
        tests=(_NODE,),
        why="that would be ten minutes later, or with the next snapshot of that replica",
    ),
    Mutant(
        "drafts are deleted at a restart",
        "20",
        "what had come is sent again",
        (Edit(_RESIDENTS, 'named.append(numbered_range(b"r", draft.space))', "pass"),),
        seeds=0,
        tests=(_NODE,),
        why="nothing is lost by it but time",
    ),
)
