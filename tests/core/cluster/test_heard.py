"""What leaders say of their shards, and the averages of it, over splits."""

from zkv.core.cluster.heard import LATELY_HALF_MS, Heard
from zkv.ids import ShardId

SHARD, OTHER = ShardId(1), ShardId(2)


def said(*words: tuple[float, float, int]) -> Heard:
    """So many bytes and requests, in that version of the range, each for a while."""
    heard = Heard()
    for place, (size, requests, version) in enumerate(words):
        heard.take(SHARD, size, requests, version)
        heard.average((place + 1) * 10 * LATELY_HALF_MS)
    return heard


def test_what_was_said_before_a_split_counts_for_nothing_after_it() -> None:
    told = said((1_000, 800, 1), (500, 400, 2)).of(SHARD)
    assert (told.bytes, told.lately, told.steady) == (500, 400, 400)


def test_until_a_half_is_counted_it_is_taken_to_be_as_the_others() -> None:
    heard = said((1_000, 800, 1))
    heard.take(OTHER, 300, 30, 1)
    heard.take(SHARD, -1, -1, 2)
    heard.average(10)
    told = heard.of(SHARD)
    assert (told.bytes, told.lately, told.steady) == (300, 30, 30)


def test_an_old_leader_who_has_not_heard_of_the_split_is_not_believed() -> None:
    heard = said((500, 400, 2))
    heard.take(SHARD, 1_000, 800, 1)
    assert heard.of(SHARD).requests == 400
