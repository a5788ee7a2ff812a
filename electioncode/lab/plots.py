"""accuracy.png, test accuracy over epochs and over time with one line per scheme; and what all pictures share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

History = Sequence[tuple[float, int, float, float]]  # (epoch, step, seconds, test accuracy)

# Okabe and Ito's colours, which colour-blind readers can distinguish too.
_COLOURS = {
    "uncoded": "#D55E00",
    "bernoulli-2": "#56B4E9",
    "bernoulli-2.5": "#56B4E9",
    "bernoulli-3": "#0072B2",
    "deterministic": "#009E73",
    "deterministic-1": "#009E73",
    "repetition": "#CC79A7",
}
_OTHERS = ("#E69F00", "#8B4513", "#6A3D9A", "#808000")
_NO_ATTACK = "#222222"


def colour_of(scheme: str, others: Iterator[int]) -> str:
    """Return the scheme's colour, the same in every picture; schemes without one take the next of ``others``."""
    if scheme == "no-attack":
        return _NO_ATTACK
    return _COLOURS.get(scheme) or _OTHERS[next(others) % len(_OTHERS)]


def accuracy(
    path: str | Path,
    summary: Sequence[Mapping[str, Any]],
    histories: Mapping[str, History],
    title: str,
    time_label: str,
) -> None:
    """Draw accuracy.png.

    Args:
        path: of the PNG.
        summary: the entries of summary.json.
        histories: scheme -> [(epoch, step, seconds, test accuracy 0..1)], epoch 0 first.
        title: one line above both panels.
        time_label: of the time axis.

    Runs without attack are dashed and lie on top: if a code reaches its reference bit for bit, its line shows between
    the dashes, and one label names both.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: no global state, and never a window.
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    named_by_others = {row["reference"] for row in summary if row["identical_to_reference"]}
    others = itertools.count()
    ends: list[tuple[float, str, str]] = []
    for row in summary:
        name, history = row["scheme"], histories[row["scheme"]]
        honest = row["attack"] is None
        colour = colour_of("no-attack" if honest else name, others)
        line: dict[str, Any] = {"color": colour, "linewidth": 1.1 if honest else 2.2, "zorder": 3 if honest else 2}
        line["linestyle"] = (0, (4, 3)) if honest else "-"
        percent = [100 * point[3] for point in history]
        for axes, column in zip(panels, (0, 2), strict=True):
            first = min(column // 2, len(history) - 1)  # no 0 on a logarithmic axis
            x = [point[column] for point in history]
            axes.plot(x[first:], percent[first:], **line)
            axes.plot(x[-1], percent[-1], "o", color=colour, markersize=4.5, zorder=4)
        if name not in named_by_others:
            ends.append((percent[-1], _label(row), colour))
    left, right = panels
    for axes, label in ((left, "epoch"), (right, time_label)):
        axes.set_xlabel(label)
        axes.set_ylim(0, 100)
        style(axes)
    left.set_xlim(left=0)
    if all(history[-1][2] > 0 for history in histories.values()):
        right.set_xscale("log")
        right.xaxis.set_major_formatter("{x:g}")
    left.set_ylabel("test accuracy, %")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    last = max(history[-1][0] for history in histories.values())
    heights = spread([end[0] for end in ends], gap=5.5)
    for height, (value, text, colour) in zip(heights, ends, strict=True):
        name_end(left, f"{text}  {value:.0f}", (last, value), (1.07, height / 100), colour, 9)
    figure.savefig(path)


def name_end(axes: Any, text: str, end: tuple[float, float], at: tuple[float, float], colour: str, size: float) -> None:
    """Name a line at its end: text beside the axes, at a place in fractions of them, joined to the end by a line."""
    axes.annotate(
        text,
        end,
        xytext=at,
        textcoords="axes fraction",
        color=colour,
        fontsize=size,
        va="center",
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkB": 3, "relpos": (0, 0.5)},
        annotation_clip=False,
    )


def style(axes: Any) -> None:
    """Give axes a light grid and no frame at the top and right."""
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0)


def _label(row: Mapping[str, Any]) -> str:
    if not row["identical_to_reference"]:
        return row["scheme"]
    partitions = "" if row["reference"] == "no-attack" else f" with k = {row['num_partitions']}"
    return f"{row['scheme']} = no-attack{partitions}"


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return heights for labels, in the order of the values, at least ``gap`` apart, within 2..98."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    heights = [0.0] * len(values)
    floor = 2.0
    for i in order:
        floor = heights[i] = max(values[i], floor)
        floor += gap
    ceiling = 98.0
    for i in reversed(order):
        ceiling = heights[i] = min(heights[i], ceiling)
        ceiling -= gap
    return heights
