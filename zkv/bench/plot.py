"""A picture of a measurement: latency by percentile, and throughput and latency over time."""

from pathlib import Path
from typing import Any

from zkv.bench.load import Result


def draw(results: list[Result], path: Path) -> None:
    """Write a picture (PNG, SVG, PDF by its suffix)."""
    # Loaded here because it takes a second, and only pictures need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 10), layout="constrained")
    FigureCanvasAgg(figure)
    quantiles, rates, latencies = figure.subplots(3, 1)
    for result in results:
        name = f"{result.workload}, {result.outstanding} outstanding"
        points = [("p50", result.p50_ms), ("p90", result.p90_ms), ("p99", result.p99_ms), ("p99.9", result.p999_ms)]
        points.append(("most", result.max_ms))
        quantiles.plot([label for label, _ in points], [value for _, value in points], marker="o", label=name)
        seconds = [second.at for second in result.timeline]
        rates.plot(seconds, [second.requests * result.batch for second in result.timeline], label=name)
        latencies.plot(seconds, [second.p50 for second in result.timeline], label=f"{name}, p50")
        latencies.plot(seconds, [second.p999 for second in result.timeline], linestyle=":", label=f"{name}, p99.9")
    _label(quantiles, "latency by percentile", "", "ms", log=True)
    _label(rates, "throughput", "second", "operations/s", log=False)
    _label(latencies, "latency over time", "second", "ms", log=True)
    figure.savefig(path)


def _label(axes: Any, title: str, below: str, beside: str, *, log: bool) -> None:
    axes.set(title=title, xlabel=below, ylabel=beside, yscale="log" if log else "linear")
    if not log:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
