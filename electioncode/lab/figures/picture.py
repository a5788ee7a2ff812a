"""FIGURE.png: one panel over epochs per group of curves, one over time, and the paper's claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electioncode.lab.figures.figures import Figure
from electioncode.lab.figures.summary import Row
from electioncode.lab.plots import colour_of, name_end, spread, style

CLOCKS = {"modelled": "modelled seconds: slowest worker + votes + messages", "measured": "seconds, measured over MPI"}


def draw(
    path: Path, figure: Figure, made: Sequence[Row], metric: str, subtitle: str, notes: Sequence[str], clock: str
) -> None:
    """Draw the picture.

    Args:
        path: of the PNG.
        figure: what ran.
        made: what `summary.rows` made of the runs.
        metric: its name.
        subtitle: what ran, below the title.
        notes: lines below the panels: the claim and what was measured.
        clock: time in the last panel, one of `CLOCKS`.

    A line is the mean over the seeds; the band around it goes from the lowest to the highest. Grey: what the paper
    claims, or what its authors' code has logged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    panels = list(dict.fromkeys(row.curve.panel for row in made))
    count = len(panels) + 1
    columns = min(count, 3)
    lines = -(-count // columns)
    below = 0.17 * (len(notes) + 1)
    height = 4.0 * lines + 0.6 + below
    canvas = Canvas(figsize=(5.6 * columns, height), dpi=110)
    FigureCanvasAgg(canvas)
    canvas.set_layout_engine("constrained", rect=(0, below / height, 1, 1 - below / height))
    axes = canvas.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    low, high = _limits(made, figure)
    for panel, ax in zip(panels, axes, strict=False):
        mine = [row for row in made if row.curve.panel == panel]
        ends = _lines(ax, mine, lambda row: row.times[0])
        if panel == panels[0]:
            _claim(ax, figure, mine)
        ax.set_xlabel("epoch")
        ax.set_title(panel, loc="left", fontsize=9)
        _labels(ax, ends, low, high)
    first = [row for row in made if row.curve.panel == panels[0]]
    last = axes[len(panels)]
    _lines(last, first, lambda row: row.times[list(CLOCKS).index(clock) + 1])
    last.set_xlabel(CLOCKS[clock])
    last.set_title(panels[0], loc="left", fontsize=9)
    for ax in axes[:count]:
        ax.set_ylim(low, high)
        ax.set_xlim(left=0)
        style(ax)
    for ax in axes[::columns]:
        ax.set_ylabel(f"{metric}, %")
    for ax in axes[count:]:
        ax.set_visible(False)
    canvas.suptitle(f"{figure.title}\n{subtitle}", x=0.01, ha="left", fontsize=11)
    canvas.text(0.01, 0.06 / height, "\n".join(notes), fontsize=8.5, va="bottom", color="#333333")
    canvas.savefig(path)


def _lines(ax: Any, made: Sequence[Row], place: Any) -> list[tuple[float, float, str, str]]:
    """Draw the curves; return (end, its place, name, colour) of each."""
    ends = []
    others = iter(range(len(made)))
    for row in made:
        values = 100 * np.array([[point[3] for point in run["history"]] for run in row.runs])
        x = place(row)
        colour = colour_of(row.curve.scheme, others)
        honest = row.curve.scheme == "no-attack"
        dashes: Any = (0, (4, 3)) if honest else "-"
        ax.plot(x, values.mean(axis=0), color=colour, linestyle=dashes, linewidth=1.1 if honest else 1.9, zorder=3)
        if len(values) > 1:
            ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.13, linewidth=0, zorder=2)
        end = float(values[:, -1].mean())
        ax.plot(x[-1], end, "o", color=colour, markersize=3.5, zorder=4)
        ends.append((end, x[-1], row.curve.name, colour))
    return ends


def _claim(ax: Any, figure: Figure, made: Sequence[Row]) -> None:
    last = max((row.runs[0]["history"][-1][0] for row in made), default=1)
    uncoded = [row.mean for row in made if row.curve.scheme == "uncoded"]
    if figure.claim.gain and uncoded:
        bottom, top = (100 * uncoded[0] + gain for gain in figure.claim.gain)
        ax.axhspan(bottom, top, color="#999999", alpha=0.22, linewidth=0, zorder=1)
        low, high = figure.claim.gain
        text = f"paper: uncoded + {low:g} to {high:g} points"
        ax.text(0.02 * last, top, text, fontsize=8, color="#666666", va="bottom")
    for label, values in figure.claim.log.items():
        epochs = range(1, len(values) + 1)
        percent = [100 * value for value in values]
        ax.plot(epochs, percent, "x:", color="#777777", linewidth=1.2, markersize=4, zorder=5)
        where = {"xytext": (-4, -11), "textcoords": "offset points", "ha": "right"}
        ax.annotate(label, (epochs[-1], percent[-1]), fontsize=7.5, color="#666666", **where)


def _labels(ax: Any, ends: Sequence[tuple[float, float, str, str]], low: float, high: float) -> None:
    percent = [100 * (end - low) / (high - low) for end, _, _, _ in ends]
    for height, (end, x, name, colour) in zip(spread(percent, gap=5.2), ends, strict=True):
        name_end(ax, f"{name}  {end:.1f}", (x, end), (1.05, height / 100), colour, 8)


def _limits(made: Sequence[Row], figure: Figure) -> tuple[float, float]:
    values = [100 * point[3] for row in made for run in row.runs for point in run["history"][1:] or run["history"]]
    values += [100 * v for log in figure.claim.log.values() for v in log]
    if figure.claim.gain:
        values += [100 * row.mean + figure.claim.gain[1] for row in made if row.curve.scheme == "uncoded"]
    low, high = min(values), max(values)
    margin = max(1.0, 0.06 * (high - low))
    return max(0.0, low - margin), min(100.0, high + margin)
