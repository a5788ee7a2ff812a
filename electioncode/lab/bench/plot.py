"""The picture of a run: speed against that of memory, and against the other ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electioncode.lab.bench.report import Record

BAR, MISSED, CEILING, POINT = "#3b75af", "#e0a13a", "#222222", "#b0413e"


def roofline(path: Path, about: dict[str, Any], rows: Sequence[Record]) -> None:
    """Draw GB/s as bars with a mark at each ceiling, one panel per number of threads, and how many times faster.

    Shows the best instruction set that was measured. Needs matplotlib.
    """
    from matplotlib.figure import Figure

    ours = [r for r in rows if r["kind"] == "electioncode" and "share" in r]
    if not ours:
        return
    isa = ours[0]["isa"]
    ours = [r for r in ours if r["isa"] == isa]
    names = list(dict.fromkeys(_name(r) for r in ours))
    threads = sorted({r["threads"] for r in ours})
    figure = Figure(figsize=(4.2 + 3.8 * (len(threads) + 1), 1.9 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(threads) + 1, sharey=True, squeeze=False)[0]
    limit = 1.25 * max(max(r["gigabytes_per_second"], r["ceiling_gigabytes_per_second"]) for r in ours)
    for ax, t in zip(axes, threads, strict=False):
        _bars(ax, [r for r in ours if r["threads"] == t], names, limit)
        ax.set_title(f"{t} thread{'s' if t > 1 else ''}", fontsize=10)
    _faster(axes[-1], ours, names, threads)
    _legend(axes[0])
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    d = max(r["d"] for r in ours)
    figure.suptitle(f"electioncode on {about['cpu']}, {isa}, d = {d:,}", fontsize=11)
    figure.savefig(path, dpi=130)


def _name(r: Record) -> str:
    size = f", n = {r['n']}" if r["n"] > 1 else ""
    return f"{r['operation']}{size}{'' if r['dtype'] == 'packed' else ', ' + r['dtype']}"


def _style(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)


def _bars(ax: Any, rows: Sequence[Record], names: Sequence[str], limit: float) -> None:
    for r in rows:
        y = names.index(_name(r))
        missed = r["goal"] and r["share"] < r["goal"]
        ax.barh(y, r["gigabytes_per_second"], height=0.62, color=MISSED if missed else BAR)
        ceiling = r["ceiling_gigabytes_per_second"]
        ax.plot([ceiling, ceiling], [y - 0.4, y + 0.4], color=CEILING, linewidth=1.6)
        right = max(r["gigabytes_per_second"], ceiling)
        ax.text(right + 0.015 * limit, y, f"{100 * r['share']:.0f} %", va="center", fontsize=7.5)
    ax.set_xlim(0, limit)
    ax.set_xlabel("GB/s of the fewest bytes that must move", fontsize=8)
    _style(ax)


def _legend(ax: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ceiling = Line2D([], [], color=CEILING, linewidth=1.6, label="a loop that only reads or copies")
    handles = [Patch(color=BAR, label="electioncode"), Patch(color=MISSED, label="below its goal"), ceiling]
    ax.legend(handles=handles, fontsize=7.5, loc="lower right", framealpha=0.9, edgecolor="none")


def _faster(ax: Any, rows: Sequence[Record], names: Sequence[str], threads: Sequence[int]) -> None:
    for t in threads:
        points = [(r["times_faster"], names.index(_name(r))) for r in rows if r["threads"] == t and "times_faster" in r]
        if points:
            x, y = zip(*points, strict=True)
            filled = t == threads[0]
            label = f"{t} thread{'s' if t > 1 else ''}"
            ax.scatter(x, y, s=26, color=POINT if filled else "none", edgecolors=POINT, label=label, zorder=3)
    ax.set_xscale("log")
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, 0.8), max(right, 12))
    ax.axvline(1, color=CEILING, linewidth=0.8)
    ax.set_title("times faster", fontsize=10)
    ax.set_xlabel("than the fastest way measured without this package\n(same threads)", fontsize=8)
    ax.grid(axis="y", color="#eeeeee", linewidth=0.6)
    if ax.collections:
        ax.legend(fontsize=8, loc="lower right", frameon=False)
    _style(ax)
