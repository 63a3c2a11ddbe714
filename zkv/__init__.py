"""A sharded, replicated, durable key-value store over ZeroMQ.

client = zkv.connect("127.0.0.1:7400")
client.put("greeting", "hello")
"""

from zkv.client.aio import AsyncClient, connect_async
from zkv.client.client import Client, connect
from zkv.core.routing import operations as requests
from zkv.core.routing.operations import Entry, Receipt
from zkv.errors import (
    ConditionFailed,
    InvalidRequest,
    NoSuchTable,
    Overloaded,
    ProtocolError,
    StartError,
    StorageError,
    TableExists,
    Timeout,
    TooLarge,
    Unavailable,
    ZkvError,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "ConditionFailed",
    "Entry",
    "InvalidRequest",
    "NoSuchTable",
    "Overloaded",
    "ProtocolError",
    "Receipt",
    "StartError",
    "StorageError",
    "TableExists",
    "Timeout",
    "TooLarge",
    "Unavailable",
    "ZkvError",
    "__version__",
    "connect",
    "connect_async",
    "requests",
]
