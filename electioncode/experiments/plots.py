"""accuracy.png: test accuracy over epochs and over time, one line a scheme, named at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

History = Sequence[tuple[int, int, float, float]]  # (epoch, step, seconds, test accuracy)

# Okabe and Ito's colours, told apart by colour-blind readers too; grey for the runs without attack.
_COLOURS = {
    "no-attack": "#555555",
    "uncoded": "#D55E00",
    "bernoulli-2": "#56B4E9",
    "bernoulli-3": "#0072B2",
    "deterministic": "#009E73",
    "repetition": "#CC79A7",
    "repetition-no-attack": "#999999",
}
_OTHERS = ("#E69F00", "#8B4513", "#6A3D9A", "#000000")


def accuracy(path: str | Path, histories: Mapping[str, History], title: str, time_label: str) -> None:
    """Draws the picture.

    Args:
        path: of the PNG.
        histories: scheme -> [(epoch, step, seconds, test accuracy 0..1)].
        title: one line above both panels.
        time_label: of the time axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: no global state, and never a window.
    figure = Figure(figsize=(11, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    ends: list[tuple[float, str, str]] = []
    others = iter(_OTHERS * len(histories))
    for name, history in histories.items():
        colour = _COLOURS.get(name) or next(others)
        style = "--" if name.endswith("no-attack") else "-"
        percent = [100 * row[3] for row in history]
        for axes, column in ((left, 0), (right, 2)):
            axes.plot([row[column] for row in history], percent, style, color=colour, linewidth=1.8)
            axes.plot(history[-1][column], percent[-1], "o", color=colour, markersize=4)
        ends.append((percent[-1], name, colour))
    for axes, label in ((left, "epoch"), (right, time_label)):
        axes.set_xlabel(label)
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0)
    left.set_ylabel("test accuracy, %")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    last = max(history[-1][0] for history in histories.values())
    for height, (value, name, colour) in zip(_spread([e[0] for e in ends], gap=5.0), ends, strict=True):
        left.annotate(
            f"{name}  {value:.0f}",
            (last, value),
            xytext=(1.06, height / 100),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 4},
            annotation_clip=False,
        )
    figure.savefig(path)


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Heights for labels, near the values, in their order, at least ``gap`` apart, within 2..98."""
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
