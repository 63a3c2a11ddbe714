"""Who belongs to a group, and what the next membership may be: one voter or learner at a time (Raft 6; rule 11).

A membership takes effect when its entry is applied. It is safe to count by it because a leader proposes a change only
after the one before is applied and an entry of its own term is committed, and nobody campaigns with a committed
change unapplied: two majorities in use at one time are then at most one change apart, and share a voter.
"""

import msgspec

from zkv.core.raft.messages import Member, Membership
from zkv.ids import ReplicaId

_decoder = msgspec.msgpack.Decoder(Membership)

encode_membership = msgspec.msgpack.Encoder().encode


def decode_membership(payload: bytes) -> Membership:
    """The payload of a membership entry. Raises ValueError for anything else."""
    return _decoder.decode(payload)


def find(membership: Membership, replica: ReplicaId) -> Member | None:
    """The voter or learner of that id."""
    for member in membership.voters:
        if member.replica == replica:
            return member
    for member in membership.learners:
        if member.replica == replica:
            return member
    return None


def changed(membership: Membership, change: str, member: Member) -> Membership | str:
    """The membership after `change`: the same object if it is so already, a sentence if it cannot be.

    "learn" adds a learner, "promote" makes a learner a voter, "remove" takes either out. "renew" changes nobody: from
    then on nothing can happen any more that was meant for the version before.
    """
    known = find(membership, member.replica)
    match change:
        case "learn":
            if known is not None:
                return membership
            return _next(membership, membership.voters, (*membership.learners, member))
        case "promote":
            if known is None:
                return f"replica {member.replica} is no learner of this group"
            if known in membership.voters:
                return membership
            return _next(membership, (*membership.voters, known), _without(membership.learners, known))
        case "remove":
            if known is None:
                return membership
            voters = _without(membership.voters, known)
            if not voters:
                return f"replica {member.replica} is the only voter"
            return _next(membership, voters, _without(membership.learners, known))
        case "renew":
            return _next(membership, membership.voters, membership.learners)
        case _:
            return f"no such change: {change!r}"


def _next(membership: Membership, voters: tuple[Member, ...], learners: tuple[Member, ...]) -> Membership:
    return Membership(version=membership.version + 1, voters=voters, learners=learners)


def _without(members: tuple[Member, ...], gone: Member) -> tuple[Member, ...]:
    return tuple(member for member in members if member.replica != gone.replica)
