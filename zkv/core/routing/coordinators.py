"""Requests that change the group of coordinators."""

from typing import Final

from zkv.core.cluster.group import ChangeCoordinators, CoordinatorInfo
from zkv.core.routing.admin import AdminRequest
from zkv.ids import NodeId

_NOWHERE: Final = "nowhere:0"  # who is to go is named by its id


def add_coordinator(name: str, address: str, publish: str) -> AdminRequest[None]:
    """One coordinator more, which takes requests and broadcasts there; done when that is decided."""
    return AdminRequest(ChangeCoordinators(0, "add", CoordinatorInfo(NodeId(name), address, publish)))


def remove_coordinator(name: str) -> AdminRequest[None]:
    """One coordinator less; done when that is decided."""
    return AdminRequest(ChangeCoordinators(0, "remove", CoordinatorInfo(NodeId(name), _NOWHERE, _NOWHERE)))
