"""A simulated client: the real router, the real codec, a connection to each address, and calls that are recorded."""

from collections.abc import Callable
from typing import NamedTuple, cast

from zkv.checkers.history import Args, Outcome, Recorder, Token, Verb, text
from zkv.core.routing.operations import ANY_REPLICA, KeyRequest, Receipt
from zkv.core.routing.router import Router
from zkv.core.routing.scan import Scan, ScanPage
from zkv.errors import ConditionFailed, ZkvError
from zkv.sim.network import Arrival, Network
from zkv.sim.processes import BROADCAST, ROUTER, Process
from zkv.sim.world import MS, Clock, World
from zkv.wire import codec

_WALL_MS = 1_700_000_000_000  # 2023, give or take what this client's clock shows
_CONNECT_US = 5 * MS


class Ask(NamedTuple):
    """One operation that a client is to do, and how it goes into the history."""

    key: bytes
    verb: Verb
    args: Args
    request: KeyRequest[object]


class SimClient(Process):
    """One client. `others` finds the process behind an address, to know whether it can be connected to."""

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        clock: Clock,
        *,
        addresses: tuple[str, ...],
        direct: bool,
        others: Callable[[str], Process],
        recorder: Recorder,
    ) -> None:
        super().__init__(world, network, name, clock)
        self.outcomes: dict[str, int] = {}
        self._others = others
        self._recorder = recorder
        self._links: dict[str, int] = {}  # address -> the start of the process that the connection leads to
        self._calls: dict[Token, Ask] = {}
        self._admin: list[tuple[object, Callable[[object], None]]] = []
        rng = world.rng(f"core {name}")
        now_ms = clock.now_ms()
        self.router = Router(addresses, direct=direct, rng=rng, wall_ms=_WALL_MS + now_ms, now_ms=now_ms)
        self.start()

    @property
    def awaited(self) -> int:
        """Requests that have not ended."""
        return self.router.awaited

    def start(self) -> None:
        """It runs; it is never killed, for its death would only be silence."""
        self.began()

    def ask(self, ask: Ask, deadline_ms: int) -> None:
        """Submit one operation; it is in the history from now on."""
        token = self._recorder.invoke(self.name, ask.key, ask.verb, ask.args, self._moment_ns())
        self._calls[token] = ask
        now_ms = self.clock.now_ms()
        self.router.submit(ask.request, token, now_ms + deadline_ms, now_ms)
        self.wake()

    def ask_together(self, asks: dict[bytes, Ask], request: KeyRequest[object], deadline_ms: int) -> None:
        """Submit one request for several keys; the operation on each is in the history for itself."""
        moment = self._moment_ns()
        tokens = [self._recorder.invoke(self.name, ask.key, ask.verb, ask.args, moment) for ask in asks.values()]

        def ended(result: object) -> None:
            for token, (key, ask) in zip(tokens, asks.items(), strict=True):
                self._end_one_of_many(token, key, ask, result)

        self.order(request, deadline_ms, ended)

    def order(self, request: object, deadline_ms: int, then: Callable[[object], None]) -> None:
        """Submit a request that is no operation on a key; `then` gets its result or ZkvError."""
        self._admin.append((request, then))
        now_ms = self.clock.now_ms()
        self.router.submit(request, request, now_ms + deadline_ms, now_ms)  # type: ignore[arg-type]  # any Request
        self.wake()

    def members(self, key: bytes, scan: Scan, deadline_ms: int) -> None:
        """Read a set by a scan, page by page; it is in the history from now on. `deadline_ms` is a page's."""
        token = self._recorder.invoke(self.name, key, Verb.MEMBERS, Args(), self._moment_ns())
        self._next_page(token, scan, (), deadline_ms)

    def _next_page(self, token: Token, scan: Scan, met: tuple[str, ...], deadline_ms: int) -> None:
        request = scan.next_request()
        if request is None:
            self._recorder.complete(token, self._moment_ns(), outcome=Outcome(members=met), effect="done")
            return

        def arrived(result: object) -> None:
            if isinstance(result, ZkvError):
                self._recorder.complete(token, self._moment_ns(), outcome=None, effect=result.effect)
                return
            assert isinstance(result, ScanPage)
            scan.arrived(result)
            rows = tuple([text(user_key) for user_key, _, _ in result.rows])
            self._next_page(token, scan, met + rows, deadline_ms)

        self.order(request, deadline_ms, arrived)

    def turn(self, arrivals: list[Arrival], now_ms: int) -> None:
        """Connect, hear, tick, send, hand back."""
        router = self.router
        self._connect(now_ms)
        for arrival in arrivals:
            if arrival.lane == BROADCAST:
                router.heard(codec.decode_broadcast(arrival.body), now_ms)
            else:
                router.receive(arrival.sender.decode(), codec.decode_to_client(arrival.body), now_ms)
        router.tick(now_ms)
        me = self.name.encode()
        for address, message in router.take(now_ms):
            if address in self._links:
                target = target_of(address)
                self.network.send(self.name, target, Arrival(ROUTER, me, codec.encode(message)), doubled=False)
            else:
                router.returned(address, message, now_ms)
        for token, result in router.finished():
            self._finish(token, result)

    def next_ms(self) -> int:
        """As the router says."""
        return self.router.next_ms()

    def _connect(self, now_ms: int) -> None:
        """What the monitors of real sockets would say."""
        known = self.router.peers.known
        for address in [address for address in self._links if address not in known]:
            del self._links[address]
        for address in list(known):
            process = self._others(target_of(address))
            link = self._links.get(address)
            if link is not None and (not process.alive or link != process.starts or address in self.router.peers.renew):
                del self._links[address]
                self.router.peers.renew.discard(address)
                self.router.disconnected(address, now_ms)
            elif link is None and process.alive:
                self._links[address] = process.starts
                self.router.connected(address, now_ms)

    def _finish(self, token: object, result: object) -> None:
        if not isinstance(token, int):
            then = next(then for request, then in self._admin if request is token)
            self._admin = [pair for pair in self._admin if pair[0] is not token]
            then(result)
            return
        ask = self._calls.pop(token)
        kind = type(result).__name__ if isinstance(result, ZkvError) else "done"
        if isinstance(result, ZkvError) and not isinstance(result, ConditionFailed):
            kind += f" ({result.effect})"
        self.outcomes[kind] = self.outcomes.get(kind, 0) + 1
        self._record(token, ask, result)

    def _end_one_of_many(self, token: Token, key: bytes, ask: Ask, result: object) -> None:
        own = (
            result.results.get(key, result) if isinstance(result, ZkvError) else cast(dict[bytes, object], result)[key]
        )
        kind = f"{type(own).__name__} ({own.effect})" if isinstance(own, ZkvError) else "done"
        self.outcomes[kind] = self.outcomes.get(kind, 0) + 1
        moment = self._moment_ns()
        if isinstance(own, ZkvError):
            self._recorder.complete(token, moment, outcome=None, effect=own.effect)
        else:
            self._recorder.complete(token, moment, outcome=row_of(ask.verb, own), effect="done")

    def _record(self, token: Token, ask: Ask, result: object) -> None:
        moment = self._moment_ns()
        if isinstance(result, ConditionFailed):
            outcome = Outcome(result.version or 0, failed=True)
            self._recorder.complete(token, moment, outcome=outcome, effect="none")
        elif isinstance(result, ZkvError):
            self._recorder.complete(token, moment, outcome=None, effect=result.effect)
        else:
            assert isinstance(result, Receipt)
            # Who did not ask for a stale answer is judged by what it got, whatever that says of itself.
            stale_ms = result.stale_ms if result.stale_ms >= 0 and ask.request.level == ANY_REPLICA else None
            outcome = outcome_of(ask.verb, result)
            self._recorder.complete(token, moment, outcome=outcome, effect="done", stale_ms=stale_ms)

    def _moment_ns(self) -> int:
        """True time; two moments of one run are never equal, and follow one another as the events do."""
        return self.world.now_us * 1_000 + self.world.events % 1_000


def row_of(verb: Verb, result: object) -> Outcome:
    """What the client was told of one key of a batch."""
    match verb:
        case Verb.GET:
            value = cast(bytes | None, result)
            return Outcome(value=None if value is None else text(value), found=value is not None)
        case Verb.DELETE:
            return Outcome(found=bool(result))
        case _:
            return Outcome(cast(int, result))


def target_of(address: str) -> str:
    """The process that listens at an address."""
    return address.partition(":")[0]


def outcome_of(verb: Verb, receipt: Receipt[object]) -> Outcome:
    """What the client was told, as a history holds it."""
    match verb:
        case Verb.GET:
            value = receipt.result
            assert value is None or isinstance(value, bytes)
            return Outcome(receipt.version, None if value is None else value.decode("latin-1"), value is not None)
        case Verb.DELETE:
            return Outcome(receipt.version, found=bool(receipt.result))
        case Verb.INCREMENT:
            return Outcome(receipt.version, str(receipt.result))
        case _:
            return Outcome(receipt.version)
