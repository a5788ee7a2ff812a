"""The price of tolerance as a picture: what the busiest worker computes, over the number of liars tolerated."""

from __future__ import annotations

import os

from electioncode.codes import AllocationCode
from electioncode.robustness.planning import candidates, mean_share, share

# Seconds per number of liars for which neither the table nor a construction has a code.
_SEARCH = 2.0


def trade_off(num_workers: int, tie: str = "plus") -> list[AllocationCode]:
    """Find the code with the least load for b = 0, 1, ..., (n - 1) // 2, quickly."""
    chosen: list[AllocationCode] = []
    for b in range((num_workers - 1) // 2 + 1):
        found = candidates(num_workers, b, tie=tie, time_limit=_SEARCH, most=1)
        if not found:
            break
        chosen.append(found[0].code)
    return chosen


def draw(num_workers: int, path: str | os.PathLike[str], tie: str, chosen: AllocationCode) -> None:
    """Draw the picture for n workers as PNG (or what the file's suffix says); needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    codes = trade_off(num_workers, tie)
    tolerated = list(range(len(codes)))
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if num_workers % 2:
        # From b = 1 on, some rows of Algorithm 1 are full.
        first = 1 / num_workers
        axes.plot(tolerated, [first, *[1.0] * (len(codes) - 1)], color="#D55E00", label="Algorithm 1, busiest worker")
    shares = [float(share(code)) for code in codes]
    axes.plot(tolerated, shares, "o-", color="#0072B2", label="best code found, busiest worker")
    means = [float(mean_share(code)) for code in codes]
    axes.plot(tolerated, means, "o:", color="#56B4E9", label="best code found, mean of the workers")
    bound = [(2 * b + 1) / num_workers for b in tolerated]
    axes.plot(tolerated, bound, "--", color="#555555", label="lower bound, (2b + 1) / n")
    held = chosen.num_byzantine or 0
    axes.plot([held], [float(share(chosen))], "*", markersize=17, color="#009E73", label=f"chosen: {chosen.name}")
    axes.set(xlabel="Byzantine workers tolerated, b", ylabel="share of the batch computed", ylim=(0, 1.05))
    axes.set_title(f"{num_workers} workers: the price of tolerating b")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path)
