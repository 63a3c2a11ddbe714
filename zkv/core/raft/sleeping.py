"""Sleep: a group that nobody asks for anything sends no heartbeats (as TiKV's hibernated regions do).

A leader whose group has been left alone for `Timing.sleep_after_ms`, with nothing left to send to anybody, says so in
its heartbeats. A follower that has everything, on disk and applied, falls asleep by such a heartbeat and says that in
its answer: it campaigns no more by the clock. Once every member has said so in answer to one and the same rest, the
leader sleeps too. While one member is away or learns, nobody sleeps.

Whatever is asked of the leader, and whatever anybody says to it, wakes it: it sends a heartbeat at once, which wakes
the others. It has no lease by then: the first read waits for a round (rule 8). A follower is woken by any message that
does not send it to sleep, and by whoever hosts it as soon as the node that its leader lives on is silent: nodes whose
shards sleep give signs of life, one for all their shards. It votes against nobody on the word of a leader that it has
not heard for an election timeout, asleep or not (rule 9), and vouches for the freshness of nothing (rule 19).
"""


class Rest:
    """A leader's side. `offered`: heartbeats send to sleep. `asleep`: everybody sleeps, and this leader too."""

    __slots__ = ("asked_ms", "asleep", "first_round", "offered")

    def __init__(self, now_ms: int) -> None:
        self.asked_ms = now_ms  # when anybody last asked for anything
        self.offered = False
        self.first_round = 0  # of this rest: who answered it asleep has heard nothing else since
        self.asleep = False

    def begin(self, next_round: int) -> None:
        """Heartbeats send to sleep from this round on."""
        if not self.offered:
            self.offered = True
            self.first_round = next_round

    def end(self, now_ms: int) -> bool:
        """Something was asked. Whether all slept."""
        was_asleep, self.asleep = self.asleep, False
        self.offered = False
        self.asked_ms = now_ms
        return was_asleep
