"""The tour's pictures, as PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zkv.tour.visitor import Visit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEP_S = 0.5
_SHADES = ("#8ab8dc", "#b9d5ea")  # light enough for words on them


def draw_bars(panels: Mapping[str, Mapping[str, float]], unit: str, path: Path, *, digits: int = 0) -> None:
    """One panel of bars beside the other, all of one scale; each bar has its number on it, with so many digits."""
    figure = _figure(11, 4)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, (title, bars) in zip(axes, panels.items(), strict=True):
        drawn = one.bar(list(bars), list(bars.values()), color="tab:blue")
        one.bar_label(drawn, fmt=f"{{:,.{digits}f}}", fontsize="small")
        one.set_title(title)
        one.tick_params(axis="x", rotation=30 if len(bars) > 6 else 0)
        one.margins(y=0.12)
    axes[0].set_ylabel(unit)
    figure.savefig(path, dpi=90)


def draw_stacks(panels: Mapping[str, Mapping[str, Mapping[str, float]]], unit: str, path: Path) -> None:
    """One panel of bars beside the other, all of one scale, with a line at each panel's mean.

    Each bar is a stack of named parts, with the sum on it.
    """
    figure = _figure(12, 6)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, (title, bars) in zip(axes, panels.items(), strict=True):
        for place, parts in enumerate(bars.values()):
            _draw_stack(one, place, parts)
        mean = sum(sum(parts.values()) for parts in bars.values()) / len(bars)
        one.axhline(mean, color="tab:red", linewidth=0.8, linestyle="--", label="the mean")
        one.legend(loc="upper right", fontsize="small")
        one.set_xticks(range(len(bars)), list(bars))
        one.set_xlim(-0.6, len(bars) - 0.4)
        one.set_title(title)
        one.margins(y=0.12)
    axes[0].set_ylabel(unit)
    figure.savefig(path, dpi=90)


def _draw_stack(axes: "Axes", place: int, parts: Mapping[str, float]) -> None:
    bottom = 0.0
    for number, (name, height) in enumerate(parts.items()):
        drawn = axes.bar(place, height, bottom=bottom, color=_SHADES[number % 2], edgecolor="white")
        axes.bar_label(drawn, [name], label_type="center", fontsize="x-small")
        bottom += height
    axes.text(place, bottom, f"{bottom:,.0f}", ha="center", va="bottom", fontsize="small")


def draw_timeline(visits: Sequence[Visit], events: Sequence[tuple[float, str]], path: Path) -> None:
    """Answers a second and the slowest request, over time, with what happened drawn over it."""
    figure = _figure(12, 6)
    rates, latencies = figure.subplots(2, 1, sharex=True)
    steps: dict[int, list[Visit]] = {}
    for visit in visits:
        steps.setdefault(int(visit.at / _STEP_S), []).append(visit)
    places = range(max(steps, default=0) + 1)
    moments = [place * _STEP_S for place in places]
    answered = [sum(visit.answered for visit in steps.get(place, ())) / _STEP_S for place in places]
    rates.step(moments, answered, where="post", color="tab:blue")
    rates.set_ylabel("requests answered a second")
    rates.set_ylim(bottom=0)
    slowest = [max((visit.took for visit in steps.get(place, ())), default=math.nan) * 1e3 for place in places]
    latencies.plot(moments, slowest, ".-", color="tab:orange", markersize=3)
    latencies.set(ylabel="slowest request, ms", xlabel="seconds since the visitor came", yscale="log")
    _draw_events(rates, latencies, events)
    figure.savefig(path, dpi=90)


def _draw_events(rates: "Axes", latencies: "Axes", events: Sequence[tuple[float, str]]) -> None:
    for at, what in events:
        for axes in (rates, latencies):
            axes.axvline(at, color="tab:red", linewidth=0.8)
        rates.text(at, 0.02, f" {what}", rotation=90, fontsize="x-small", transform=rates.get_xaxis_transform())


def _figure(width: float, height: float) -> "Figure":
    # Loaded here because it takes a second, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
