"""Results on their way back to callers: what each part came to, and when a batch is whole."""

from collections.abc import Sequence

from zkv.core.routing.operations import KeyRequest, Proof, keys_of
from zkv.core.routing.parts import Attempt, Part
from zkv.core.routing.retry import batch_error
from zkv.errors import ZkvError

Finished = tuple[object, object]  # (token, result or ZkvError)


class Ledger:
    """Everything submitted and not yet handed back. Each part ends once; each request ends once."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.awaited = 0  # requests submitted and not finished

    def answered(self, attempt: Attempt, results: Sequence[object], proof: Proof) -> None:
        """The attempt's group was done: give each of its parts its share of the results."""
        position = 0
        finished = self.finished
        for part, count in attempt.spans:
            start, position = position, position + count
            if part.done or len(part.items) != count:
                continue
            part.done = True
            if part.run is not None:
                part.run.left -= count
            request = part.request
            if request.single:
                self.awaited -= 1
                finished.append((request.token, request.shape(results[start], proof)))
            else:
                shape = request.shape
                self._share(request, part, [shape(raw, proof) for raw in results[start:position]])

    def ended(self, part: Part, result: object) -> None:
        """The part came to this result or error, and so did each of its items."""
        if part.done:
            return
        part.done = True
        if part.run is not None:
            part.run.left -= len(part.items)
        if part.request.single:
            self.hand_back(part.request.token, result)
        else:
            self._share(part.request, part, [result] * len(part.items))

    def hand_back(self, token: object, result: object) -> None:
        """A whole request came to this result or error."""
        self.awaited -= 1
        self.finished.append((token, result))

    def _share(self, request: KeyRequest[object], part: Part, results: list[object]) -> None:
        request.results.update(zip(keys_of(request.kind, part.items), results, strict=True))
        request.left -= len(results)
        if not request.left:
            self.hand_back(request.token, _whole(request, in_order=part.items is request.items))


def _whole(request: KeyRequest[object], *, in_order: bool) -> dict[bytes, object] | ZkvError:
    """Every item's result, in the order that the caller gave, whichever shard was first."""
    found = request.results
    if not in_order:
        found = {key: found[key] for key in keys_of(request.kind, request.items)}
    return batch_error(found) or found
