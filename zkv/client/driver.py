"""The bare pipeline: sockets and router in the caller's own thread, results by callback. The fastest of the shells."""

from collections.abc import Callable
from types import TracebackType

from zkv.client.turns import Given, Turns, deadline_after, parse_addresses
from zkv.core.routing.admin import shard_map
from zkv.core.routing.operations import Request
from zkv.errors import ZkvError
from zkv.net.clock import now_ms

Done = Callable[[object], None]  # called with the result or with the ZkvError


class Driver:
    """Single-threaded: everything happens inside `turn`. Callbacks may submit; that leaves in the same turn.

    `outstanding`: requests submitted whose callback has not been called.
    """

    def __init__(self, *addresses: Given, timeout_s: float = 5.0, direct: bool = True) -> None:
        self._timeout_ms = deadline_after(timeout_s, 0)
        self._turns = Turns(parse_addresses(addresses), direct=direct)
        self._now = now_ms()

    @property
    def outstanding(self) -> int:
        """Requests whose callback is still to be called."""
        return self._turns.router.awaited

    def submit(self, request: Request[object], done: Done) -> None:
        """Ask; `done` is called in some later turn, by the deadline at the latest."""
        now = self._now
        self._turns.router.submit(request, done, now + self._timeout_ms, now)

    def turn(self, *, most_ms: int = 100) -> None:
        """Wait for something to do for at most `most_ms`, do it, call back, send."""
        turns = self._turns
        now = self._now = turns.receive(turns.wait(most_ms=most_ms))
        for token, result in turns.finished():
            token(result)  # type: ignore[operator]  # tokens are the callbacks that `submit` took
        turns.send(now)

    def ready(self) -> None:
        """Return once the map is known; raises what a request would (Unavailable, ProtocolError)."""
        arrived: list[object] = []
        self._now = now_ms()
        self.submit(shard_map(), arrived.append)
        self._turns.send(self._now)
        while not arrived:
            self.turn()
        if isinstance(arrived[0], ZkvError):
            raise arrived[0]

    def drain(self) -> None:
        """Run turns until nothing is outstanding."""
        self._turns.send(self._now)
        while self.outstanding:
            self.turn()

    def close(self) -> None:
        """Close the sockets; what is outstanding is dropped without a callback."""
        self._turns.close(clean=False)

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
