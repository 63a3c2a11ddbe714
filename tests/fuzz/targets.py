"""Everything that turns bytes from outside into something: what it may raise, and right bytes to begin with."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.wild import Wild
from zkv.checkers.history import Call, from_lines, to_lines
from zkv.cli.formats import Format, read_lines, write_row
from zkv.core.cluster.commands import MapCommand, decode_command
from zkv.core.cluster.frames import Peers
from zkv.core.raft.membership import decode_membership
from zkv.core.raft.messages import LogBatch, Membership
from zkv.core.routing.scan import Scan
from zkv.core.shard import records
from zkv.core.shard.commands import WriteGroup
from zkv.core.shard.snapshot_messages import DraftCredit, SnapshotChunk, SnapshotDigest, SnapshotOffer
from zkv.errors import BadFrame, InvalidRequest
from zkv.ids import NodeId
from zkv.storage import recovery, segments
from zkv.storage.disk import Disk
from zkv.storage.faults import Damaged
from zkv.storage.segment_file import segment_path
from zkv.wire import codec

Fresh = Callable[[Wild], bytes]
Take = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """`take` gives what the bytes mean, or raises one of `refusals` and nothing else."""

    name: str
    fresh: Fresh
    take: Take
    refusals: tuple[type[Exception], ...]


def _encoded(kind: object) -> Fresh:
    return lambda wild: codec.encode(wild.value(kind))


def _twice(decode: Take) -> Take:
    """Decode; what was understood is understood alike when it is written again."""

    def take(frame: bytes) -> object:
        found = decode(frame)
        written = codec.encode(found)
        assert codec.encode(decode(written)) == written, f"{found} is read as something else when it is written again"
        return found

    return take


def _snapshot_frame(wild: Wild) -> bytes:
    stream = tuple([wild.value(SnapshotOffer | SnapshotChunk | DraftCredit | SnapshotDigest) for _ in range(2)])
    return codec.encode(Peers(1, NodeId("n1"), 1, stream))  # type: ignore[arg-type]  # wild values


_SALT = 7
_FOLDER = Path("log")


class _OneSegment(Disk):
    """A folder with one file, whose bytes are given."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def files(self, folder: Path, suffix: str) -> list[Path]:
        return [segment_path(folder, 1)]

    def read(self, path: Path, most: int = -1) -> bytes:
        return self._data if most < 0 else self._data[:most]


def _recovered(data: bytes) -> object:
    return recovery.read(_FOLDER, _OneSegment(data))


def _segment(bodies: list[bytes]) -> bytes:
    header = segments.SegmentHeader(_SALT, True, 1, 0)
    data = header.encode()
    for body in bodies:
        sealed = segments.seal(body)
        data += segments.prefix(sealed, header.position_of(len(data)), _SALT) + sealed
    return data + bytes(50)


def _fresh_segment(wild: Wild) -> bytes:
    return _segment([codec.encode(wild.value(LogBatch)) for _ in range(3)])


def _sealed_record(body: bytes) -> object:
    """A record whose checksum is right, whatever is in it, as another version would have written it."""
    return _recovered(_segment([codec.encode(LogBatch(())), body]))


def _rows(form: Format) -> Target:
    def fresh(wild: Wild) -> bytes:
        write = write_row(form)
        rows = [(b"k%d" % number, bytes(wild.value(bytes))) for number in range(3)]  # type: ignore[call-overload]
        return b"".join(write(key, value) for key, value in rows)

    return Target(f"imported rows, {form.value}", fresh, lambda data: list(read_lines(io.BytesIO(data), form)), ())


def _cursor(data: bytes) -> object:
    return Scan("default", cursor=data.decode("latin-1"))


def _payload(name: str, kind: object, decode: Take, *refusals: type[Exception]) -> Target:
    return Target(name, _encoded(kind), _twice(decode), refusals)


TARGETS = (
    _payload("frames to a node", codec.ToNode, codec.decode_to_node, BadFrame),
    _payload("frames to a coordinator", codec.ToCoordinator, codec.decode_to_coordinator, BadFrame),
    _payload("frames from a coordinator", codec.FromCoordinator, codec.decode_from_coordinator, BadFrame),
    _payload("frames to a client", codec.ToClient, codec.decode_to_client, BadFrame),
    _payload("broadcasts of the map", codec.Broadcast, codec.decode_broadcast, BadFrame),
    Target("snapshot streams", _snapshot_frame, _twice(codec.decode_to_node), (BadFrame,)),
    Target("log segments", _fresh_segment, _recovered, (Damaged,)),
    Target("log records", _encoded(LogBatch), _sealed_record, (Damaged,)),
    _payload("log entries: batches", tuple[WriteGroup, ...], records.decode_batch, ValueError),
    _payload("log entries: memberships", Membership, decode_membership, ValueError),
    _payload("log entries: map commands", MapCommand, decode_command, BadFrame),
    _payload("engine rows: applied", records.Applied, records.decode_applied, ValueError),
    _payload("engine rows: descriptors", records.Descriptor, records.decode_descriptor, ValueError),
    _payload("engine rows: drafts", records.Draft, records.decode_draft, ValueError),
    _payload("engine rows: sessions", records.SessionRecord, records.decode_session, ValueError),
    *(_rows(form) for form in Format),
    Target("scan cursors", lambda wild: b"fK2FiYw==", _cursor, (InvalidRequest,)),
    Target(
        "histories",
        lambda wild: b"".join(to_lines([wild.value(Call)])),  # type: ignore[list-item]  # wild values
        lambda data: from_lines(data.split(b"\n")),
        (ValueError,),
    ),
)
