"""What a process is told at its start: frozen, checked once, all faults named at once."""

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal, get_args

from zkv import limits
from zkv.core.cluster.group import GROUP_MAX, CoordinatorInfo
from zkv.errors import StartError
from zkv.ids import NodeId

EngineName = Literal["rocksdb", "sqlite"]
FlushPlace = Literal["thread", "inline"]

_NAME = re.compile(rf"[A-Za-z0-9_.\-]{{1,{limits.TABLE_NAME_CHARACTERS_MAX}}}")
_EVERYWHERE = ("*", "0.0.0.0", "[::]")
_WEIGHT_MAX = 1_000.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """One data node."""

    id: str
    """Its name for life: letters, digits, `_ . -`, 64 at most."""
    data: Path
    """Its folder; of this node alone."""
    listen: str
    """HOST:PORT where clients and peers arrive."""
    join: tuple[str, ...]
    """HOST:PORT of each coordinator."""
    advertise: str = ""
    """HOST:PORT by which others reach it; "" is `listen`."""
    zone: str = ""
    """Its failure domain: replicas of one shard go to different zones."""
    weight: float = 1.0
    """Its share of a hash table's shards, against the other nodes' weights."""
    engine: EngineName = "rocksdb"
    """The state engine."""
    flush: FlushPlace = "thread"
    """Where the log is flushed: `thread` lets reads go on while a slow disk writes."""

    def validate(self) -> None:
        """Raises StartError with a sentence for each fault."""
        faults = [*_name_faults(self.id), *_folder_faults(self.data), *_address_faults("--listen", self.listen)]
        if not self.join:
            faults.append("--join names no coordinator")
        for address in self.join:
            faults += _address_faults("--join", address) + _everywhere_faults("--join", address)
        if self.advertise:
            faults += _address_faults("--advertise", self.advertise)
            faults += _everywhere_faults("--advertise", self.advertise)
        elif _is_everywhere(self.listen):
            faults.append(f"--listen {self.listen} is every address: --advertise must say by which one others come")
        if len(self.zone) > limits.TABLE_NAME_CHARACTERS_MAX:
            faults.append(f"--zone has {len(self.zone)} characters, and {limits.TABLE_NAME_CHARACTERS_MAX} is the most")
        if not (isfinite(self.weight) and 0 < self.weight <= _WEIGHT_MAX):
            faults.append(f"--weight {self.weight} is not above 0 and at most {_WEIGHT_MAX:g}")
        _raise(faults + _choice_faults(self.engine, self.flush))


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """One coordinator."""

    id: str
    """Its name for life: letters, digits, `_ . -`, 64 at most."""
    data: Path
    """Its folder; of this coordinator alone."""
    listen: str
    """HOST:PORT where nodes and clients ask; also the address that the map gives for it."""
    publish: str
    """HOST:PORT of its broadcast; also the address that the map gives for it."""
    engine: EngineName = "rocksdb"
    """The state engine."""
    flush: FlushPlace = "thread"
    """Where the log is flushed."""
    group: tuple[CoordinatorInfo, ...] = ()
    """All coordinators, this one among them; () is this one alone."""

    @property
    def members(self) -> tuple[CoordinatorInfo, ...]:
        """The group as the operator told it."""
        return self.group or (CoordinatorInfo(NodeId(self.id), self.listen, self.publish),)

    def validate(self) -> None:
        """Raises StartError with a sentence for each fault."""
        faults = [*_name_faults(self.id), *_folder_faults(self.data), *_group_faults(self.id, self.group)]
        for option, address in (("--listen", self.listen), ("--publish", self.publish)):
            faults += _address_faults(option, address)
            faults += [] if self.group else _everywhere_faults(option, address)
        if self.listen == self.publish:
            faults.append(f"--listen and --publish are both {self.listen}: they need a port each")
        _raise(faults + _choice_faults(self.engine, self.flush))


def group_of(text: str) -> tuple[CoordinatorInfo, ...]:
    """The coordinators in `NAME=HOST:PORT/PUBLISHPORT,...`. Raises StartError."""
    members, faults = [], []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, where = part.partition("=")
        address, _, port = where.partition("/")
        publish = f"{address.rpartition(':')[0]}:{port}"
        wrong = _address_faults("--group", address) + _address_faults("--group", publish) if where else [""]
        if wrong or not _NAME.fullmatch(name):
            faults.append(f"{part!r} is not NAME=HOST:PORT/PUBLISHPORT")
        members.append(CoordinatorInfo(NodeId(name), address, publish))
    _raise(faults)
    return tuple(members)


def _group_faults(own: str, group: tuple[CoordinatorInfo, ...]) -> list[str]:
    if not group:
        return []
    faults = []
    names = [info.name for info in group]
    if own not in names:
        faults.append(f"--group names {', '.join(names)}, and not this coordinator, {own}")
    if len(set(names)) < len(names) or len({info.address for info in group}) < len(names):
        faults.append("--group names a coordinator twice")
    if len(names) > GROUP_MAX:
        faults.append(f"--group names {len(names)} coordinators: {GROUP_MAX} at most")
    return faults + [fault for info in group for fault in _everywhere_faults("--group", info.address)]


def _raise(faults: list[str]) -> None:
    if faults:
        raise StartError("; ".join(faults))


def _name_faults(name: str) -> list[str]:
    if _NAME.fullmatch(name):
        return []
    return [f"--id {name!r} is not 1 to {limits.TABLE_NAME_CHARACTERS_MAX} letters, digits, `_`, `.` or `-`"]


def _folder_faults(data: Path) -> list[str]:
    if data.exists() and not data.is_dir():
        return [f"--data {data} is not a folder"]
    return []


def _address_faults(option: str, address: str) -> list[str]:
    host, colon, port = address.rpartition(":")
    if not (host and colon):
        return [f"{option} {address!r} is not HOST:PORT"]
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        return [f"{option} {address!r} has no port from 1 to 65535"]
    return []


def _everywhere_faults(option: str, address: str) -> list[str]:
    if _is_everywhere(address):
        return [f"{option} {address} is every address: say the one by which others come"]
    return []


def _is_everywhere(address: str) -> bool:
    return address.rpartition(":")[0] in _EVERYWHERE


def _choice_faults(engine: str, flush: str) -> list[str]:
    faults = []
    if engine not in get_args(EngineName):
        faults.append(f"the engine {engine!r} is none of {', '.join(get_args(EngineName))}")
    if flush not in get_args(FlushPlace):
        faults.append(f"the flush {flush!r} is none of {', '.join(get_args(FlushPlace))}")
    return faults
