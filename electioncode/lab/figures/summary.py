"""What the runs of a figure say: one row per curve, over its seeds; the modelled time; the paper's claim."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from electioncode.lab import text
from electioncode.lab.figures.figures import Curve, Figure

LEGEND = """\
r: partitions a worker computes on average; largest load: share of the batch that the busiest worker computes;
lowest and highest over the seeds. {times}"""
TIMES = {
    "in-process": """Modelled time of a step: the busiest worker's partitions at the time measured for
one, the votes as measured in one process, and all messages through a server's link of {bandwidth:g} Gbit/s.
Measured: all workers in one process, each gradient once, without the CPU time that other programs took.""",
    "mpi": """All times are measured at the server, with one process per
worker over MPI; with fewer cores than processes, workers share them.""",
}


@dataclass(frozen=True)
class Row:
    """A curve over its seeds.

    Attributes:
        curve: which.
        runs: its records, by seed.
        step_seconds: modelled time of a step, the mean over the runs; over MPI the measured one.
        gain: percentage points over the uncoded curve of its panel under the same attack, means; None without one.
        below: percentage points below the panel's curve without attack; None without one.
        times: means of (epochs, modelled seconds, measured seconds) of the tests: three lists.
        reached: means of the same three until the metric first reaches the target; None unless every run gets there.
    """

    curve: Curve
    runs: Sequence[Mapping[str, Any]]
    step_seconds: float
    gain: float | None
    below: float | None
    times: tuple[list[float], ...]
    reached: tuple[float, float, float] | None

    @property
    def ends(self) -> list[float]:
        """Return the metric at the end of each run, 0 to 1."""
        return [run["history"][-1][3] for run in self.runs]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.ends)


def partition_seconds(runs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return k -> seconds for gradient, momentum and packing of one of k partitions: the median over all such runs.

    The time does not depend on the code, and other load disturbs single runs.
    """
    times: dict[int, list[float]] = {}
    for run in runs:
        spent = undisturbed(run) * (run["phases"]["gradient"] + run["phases"]["cast"])
        if run["gradients"]:
            times.setdefault(run["num_partitions"], []).append(spent / run["gradients"])
    return {k: statistics.median(spent) for k, spent in times.items()}


def undisturbed(run: Mapping[str, Any]) -> float:
    """Return the part of the measured time that the run had a CPU, if that is known: with one thread, without a GPU."""
    alone = run["device"] == "cpu" and run["transport"] == "in-process" and run["threads"] == 1
    if not alone or run["processor_seconds"] is None or not run["seconds"]:
        return 1.0
    return min(1.0, run["processor_seconds"] / run["seconds"])


def step_seconds(run: Mapping[str, Any], partition: float, bandwidth: float) -> float:
    """Model the time of a step: slowest worker, vote, and 2 n messages through one link of so many Gbit/s.

    Over MPI no model is needed: returns the measured time.
    """
    if run["transport"] == "mpi":
        return run["seconds"] / max(1, run["steps"])
    vote = undisturbed(run) * run["phases"]["vote"] / max(1, run["steps"])
    return run["max_load"] * partition + vote + 8 * run["bytes_per_step"] / (bandwidth * 1e9)


def rows(figure: Figure, runs: Sequence[Mapping[str, Any]], bandwidth: float, target: float | None) -> list[Row]:
    """Make one row per curve that has runs, in the figure's order."""
    by_curve = {
        c.name: sorted((r for r in runs if r["curve"] == c.name), key=lambda r: r["seed"]) for c in figure.curves
    }
    means = {name: statistics.fmean(r["history"][-1][3] for r in mine) for name, mine in by_curve.items() if mine}
    seconds = partition_seconds(runs)
    made = []
    for curve in figure.curves:
        mine = by_curve[curve.name]
        if not mine:
            continue
        steps = [step_seconds(run, seconds.get(run["num_partitions"], 0.0), bandwidth) for run in mine]
        level = target_of(figure, curve, means) if target is None else target
        others = {c.scheme: means[c.name] for c in figure.curves if c.panel == curve.panel and c.name in means}
        ideal, plain = others.get("no-attack"), others.get("uncoded")
        coded = curve.scheme not in ("no-attack", "uncoded")
        made.append(
            Row(
                curve,
                mine,
                statistics.fmean(steps),
                100 * (means[curve.name] - plain) if coded and plain is not None else None,
                100 * (ideal - means[curve.name]) if ideal is not None and curve.scheme != "no-attack" else None,
                _mean_times([_times(run, one) for run, one in zip(mine, steps, strict=True)]),
                _reached(mine, steps, level),
            )
        )
    return made


def target_of(figure: Figure, curve: Curve, means: Mapping[str, float]) -> float | None:
    """Return the paper's reference level, or else where the uncoded curve of the panel ends."""
    if figure.claim.target is not None:
        return figure.claim.target
    uncoded = [c.name for c in figure.curves if c.panel == curve.panel and c.scheme == "uncoded" and c.name in means]
    return means[uncoded[0]] if uncoded else None


def _times(run: Mapping[str, Any], step: float) -> list[tuple[float, float, float]]:
    """Return (epochs, modelled seconds, measured seconds) of each test of a run."""
    return [(epoch, steps * step, undisturbed(run) * seconds) for epoch, steps, seconds, _ in run["history"]]


def _mean_times(all_times: Sequence[Sequence[tuple[float, float, float]]]) -> tuple[list[float], ...]:
    return tuple(
        [statistics.fmean(t[clock] for t in test) for test in zip(*all_times, strict=True)] for clock in range(3)
    )


def _reached(
    runs: Sequence[Mapping[str, Any]], steps: Sequence[float], level: float | None
) -> tuple[float, float, float] | None:
    if level is None:
        return None
    found = []
    for run, step in zip(runs, steps, strict=True):
        there = [time for time, point in zip(_times(run, step), run["history"], strict=True) if point[3] >= level]
        found += there[:1]
    if len(found) < len(runs):
        return None
    epochs, modelled, measured = (statistics.fmean(clock) for clock in zip(*found, strict=True))
    return epochs, modelled, measured


def table(
    figure: Figure, made: Sequence[Row], metric: str, bandwidth: float, target: float | None, transport: str
) -> str:
    """Return the rows as aligned text, panel by panel, with a legend."""
    level = figure.claim.target if target is None else target
    modelled = ["modelled s to it"] if transport == "in-process" else []
    goal = "the uncoded end" if level is None else f"{100 * level:g} %"
    header = (
        "curve", "seeds", "r", "largest load", f"{metric}, %", "lowest", "highest", "over uncoded",
        "below no attack", "ms/step", f"epochs to {goal}", *modelled, "measured s to it", "whole run, s",
    )  # fmt: skip
    lines: list[tuple[str, ...] | str] = []
    panel = None
    for row in made:
        if row.curve.panel != panel:
            panel = row.curve.panel
            if panel:
                lines.append(panel)
        loads = [run["max_load"] / run["num_partitions"] for run in row.runs]
        lines.append(
            (
                row.curve.name,
                str(len(row.runs)),
                _span([run["redundancy"] for run in row.runs], 2),
                _span(loads, 2),
                f"{100 * row.mean:.2f}",
                f"{100 * min(row.ends):.2f}",
                f"{100 * max(row.ends):.2f}",
                "" if row.gain is None else f"{row.gain:+.2f}",
                "" if row.below is None else f"{row.below:.2f}",
                f"{1e3 * row.step_seconds:.2f}",
                *_reached_cells(row, bool(modelled)),
                f"{statistics.fmean(undisturbed(run) * run['seconds'] for run in row.runs):.1f}",
            )
        )
    legend = LEGEND.format(times=TIMES[transport].format(bandwidth=bandwidth))
    return f"{text.table(header, lines, 'lr')}\n\n{legend}"


def _reached_cells(row: Row, modelled: bool) -> list[str]:
    epochs, *seconds = ["-"] * 3 if row.reached is None else [f"{time:.2f}" for time in row.reached]
    return [epochs, *(seconds if modelled else seconds[1:])]


def _span(values: Sequence[float], digits: int) -> str:
    low, high = (f"{v:.{digits}f}".rstrip("0").rstrip(".") for v in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def verdict(figure: Figure, made: Sequence[Row]) -> list[str]:
    """Return the paper's claim and what was measured, one sentence per line."""
    said = [f"paper: {figure.claim.text}"]
    panels = list(dict.fromkeys(row.curve.panel for row in made))
    for panel in panels:
        gains = [(row.gain, row.curve.name) for row in made if row.curve.panel == panel and row.gain is not None]
        if not gains:
            continue
        where = f" ({panel})" if panel else ""
        listed = ", ".join(f"{name} {gain:+.1f}" for gain, name in gains)
        said.append(f"here{where}: points over uncoded: {listed}")
    first = panels[0] if panels else ""
    for label, values in figure.claim.log.items():
        scheme = "uncoded" if "uncoded" in label else "bernoulli-2"
        for row in made:
            if row.curve.panel == first and row.curve.scheme == scheme:
                ends = ", ".join(f"{end:.4f}" for end in row.ends)
                said.append(f"{label} ends at {values[-1]:.4f}; here {row.curve.name} at {ends}")
    return said


def time_shares(runs: Sequence[Mapping[str, Any]]) -> str:
    """Say where the wall-clock time of all runs went."""
    total: dict[str, float] = {}
    for run in runs:
        for phase, seconds in run["phases"].items():
            total[phase] = total.get(phase, 0.0) + seconds
    whole = sum(total.values()) or 1.0
    parts = ", ".join(f"{phase} {100 * seconds / whole:.0f} %" for phase, seconds in total.items())
    had = [run["processor_seconds"] for run in runs if run["processor_seconds"] is not None]
    on_cpu = f", {sum(had):.0f} s of them on a CPU" if len(had) == len(runs) else ""
    return f"all runs one after another: {whole:.0f} s{on_cpu}: {parts}"
