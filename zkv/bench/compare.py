"""Measurements in turns with the bare ceiling, each right after it, in the same weather; medians."""

from collections.abc import Callable
from statistics import median

import msgspec

from zkv.bench import ceiling
from zkv.bench.load import Result
from zkv.bench.plan import Plan, Workload

_READS = (Workload.b, Workload.c, Workload.get, Workload.mget, Workload.scan)


def ceiling_of(workload: Workload) -> ceiling.Kind:
    """Which ceiling a workload is compared with."""
    return ceiling.Kind.get if workload in _READS else ceiling.Kind.durable


def shape_of(plan: Plan) -> ceiling.Shape:
    """The same for the bare ceiling."""
    return ceiling.Shape(
        outstanding=plan.outstanding, seconds=plan.seconds, keys=plan.keys, value_bytes=plan.value_bytes
    )


def middle(results: list[Result]) -> Result:
    """The one whose rate is the median."""
    return sorted(results, key=lambda result: result.ops_per_s)[len(results) // 2]


def in_turns(measure: Callable[[], Result], plan: Plan, turns: int) -> tuple[Result, dict[str, object]]:
    """The median of `turns` measurements, each right after its ceiling, and how it compares."""
    limit, shape = ceiling_of(plan.workload), shape_of(plan)
    results: list[Result] = []
    ceilings: list[int] = []
    for _ in range(turns):
        ceilings.append(ceiling.measure(limit, shape).ops_per_s)
        results.append(measure())
    top, rates = median(ceilings), [result.ops_per_s for result in results]
    return middle(results), {
        "ceiling": limit.value,
        "ceiling_ops_per_s": round(top),
        "share": round(median(rates) / top, 3),
        "rates": sorted(rates),
        "ceilings": sorted(ceilings),
    }


def fields_of(result: Result) -> dict[str, object]:
    """A result as one flat JSON object; without its timeline."""
    fields: dict[str, object] = msgspec.structs.asdict(result)
    del fields["timeline"], fields["usage"]
    return fields | msgspec.structs.asdict(result.usage)
