"""A run as a picture: what was answered a second and how fast, with the faults drawn over it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zkv.chaos import figures
from zkv.chaos.story import Span
from zkv.checkers.history import Call

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 400
_BIN_S_MIN = 0.25
_PERCENTILES = ((0.5, "p50", "tab:green"), (0.99, "p99", "tab:orange"), (1.0, "slowest", "tab:red"))


def draw(calls: Sequence[Call], spans: Sequence[Span], began_ns: int, title: str, path: Path) -> None:
    """Write it as PNG."""
    import matplotlib  # takes a second to load, and nothing else needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ended = [call for call in calls if call.completed_ns is not None and call.client != figures.FINAL]
    seconds = max((_seconds(call.completed_ns or 0, began_ns) for call in ended), default=1.0)
    width_s = max(_BIN_S_MIN, seconds / _BINS)
    figure, (rates, latencies, faults) = pyplot.subplots(
        3, 1, sharex=True, figsize=(16, 10), height_ratios=(3, 3, 2), layout="constrained"
    )
    figure.suptitle(title)
    _draw_rates(rates, ended, began_ns, seconds, width_s)
    _draw_latencies(latencies, ended, began_ns, width_s)
    _draw_faults(faults, (rates, latencies), spans, began_ns)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _seconds(moment_ns: int, began_ns: int) -> float:
    return (moment_ns - began_ns) / 1e9


def _draw_rates(axes: "Axes", ended: Sequence[Call], began_ns: int, seconds: float, width_s: float) -> None:
    edges = [number * width_s for number in range(int(seconds / width_s) + 2)]
    kinds = {
        "writes answered": [call for call in ended if figures.is_write(call) and figures.was_answered(call)],
        "reads answered": [call for call in ended if not figures.is_write(call) and call.effect == "done"],
        "no answer, or refused": [call for call in ended if not figures.was_answered(call)],
    }
    for (name, mine), colour in zip(kinds.items(), ("tab:blue", "tab:cyan", "tab:red"), strict=True):
        counts = [0.0] * len(edges)
        for call in mine:
            counts[int(_seconds(call.completed_ns or 0, began_ns) / width_s)] += 1 / width_s
        axes.step(edges, counts, where="post", label=name, color=colour, linewidth=1)
    axes.set_ylabel("operations a second")
    axes.legend(loc="upper right")
    axes.set_ylim(bottom=0)


def _draw_latencies(axes: "Axes", ended: Sequence[Call], began_ns: int, width_s: float) -> None:
    bins: dict[int, list[float]] = {}
    for call in ended:
        if figures.was_answered(call):
            completed_ns = call.completed_ns or 0
            place = int(_seconds(completed_ns, began_ns) / width_s)
            bins.setdefault(place, []).append((completed_ns - call.invoked_ns) / 1e6)
    places = range(max(bins, default=0) + 1)
    moments = [place * width_s for place in places]
    for share, name, colour in _PERCENTILES:
        values = [_percentile(bins[place], share) if place in bins else math.nan for place in places]
        axes.plot(moments, values, ".-", label=name, color=colour, linewidth=1, markersize=3)
    axes.set_yscale("log")
    axes.set_ylabel("latency, ms")
    axes.legend(loc="upper right")


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _draw_faults(axes: "Axes", others: Sequence["Axes"], spans: Sequence[Span], began_ns: int) -> None:
    """A bar for each fault, paler from its end until the cluster was whole; and its shade over the other axes."""
    kinds = sorted({span.kind for span in spans})
    for span in spans:
        row = kinds.index(span.kind)
        colour = f"C{row % 10}"
        begun, whole = _seconds(span.begun_ns, began_ns), _seconds(span.end_ns, began_ns)
        undone = _seconds(span.undone_ns, began_ns) if span.undone_ns else whole
        axes.barh(row, undone - begun, left=begun, color=colour)
        axes.barh(row, whole - undone, left=undone, color=colour, alpha=0.4)
        for other in others:
            other.axvspan(begun, undone, color=colour, alpha=0.15, linewidth=0)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_xlabel("seconds")
    axes.grid(axis="x", alpha=0.3)
