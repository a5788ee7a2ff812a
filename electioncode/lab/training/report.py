"""What a run leaves behind: summary.json, settings.json, history.csv, and a table on the screen."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electioncode.lab import text
from electioncode.lab.training.contenders import Contender
from electioncode.lab.training.runner import Result

LEGEND = """\
k: partitions of the batch; r: partitions a worker computes on average; largest load: share of the batch
that the busiest worker computes; computed: how often all workers together compute the batch; bytes/step: sent
by one worker. same as reference: are the parameters at the end, bit for bit, those of the run without attack
over the same partitions? ('-': the code promises nothing against so many attackers.)"""
HISTORY_COLUMNS = ("scheme", "epoch", "step", "seconds", "test_accuracy")


def entry(contender: Contender, result: Result, bytes_sent: int, replicas_identical: bool) -> dict[str, Any]:
    """Return one entry of summary.json.

    Args:
        contender: what ran.
        result: of the process that evaluates.
        bytes_sent: payload bytes of all workers together, over the whole run.
        replicas_identical: every process ended with the same parameters, bit for bit.
    """
    code = contender.code
    return {
        "scheme": contender.name,
        "code": code.name,
        "num_workers": code.num_workers,
        "num_byzantine": len(contender.attackers),
        "byzantine_workers": list(contender.attackers),
        "num_partitions": code.num_partitions,
        "redundancy": code.redundancy,
        "max_load": code.max_load,
        "batches_computed": int(code.allocation.sum()) / code.num_partitions,
        "attack": contender.attack if contender.attackers else None,
        "test_accuracy": result.history[-1][3],
        "seconds": round(result.seconds, 3),
        "steps": result.steps,
        "bytes_sent_per_worker_per_step": bytes_sent / max(1, result.steps * code.num_workers),
        "parameters_sha256": result.parameters_sha256,
        "replicas_identical": replicas_identical,
        "reference": contender.reference,
        "identical_to_reference": None,
    }


def compare(summary: Sequence[dict[str, Any]]) -> None:
    """Fill in ``identical_to_reference``: None if there is no reference, or it was not run."""
    digests = {row["scheme"]: row["parameters_sha256"] for row in summary}
    for row in summary:
        if row["reference"] in digests:
            row["identical_to_reference"] = row["parameters_sha256"] == digests[row["reference"]]


def write(
    folder: Path,
    settings: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]],
    histories: Mapping[str, Sequence[tuple[float, int, float, float]]],
) -> None:
    """Write summary.json, settings.json and history.csv into ``folder``, replacing what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("summary.json", list(summary)), ("settings.json", dict(settings))):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HISTORY_COLUMNS)
        for scheme, history in histories.items():
            for epoch, step, seconds, accuracy in history:
                writer.writerow((scheme, epoch, step, f"{seconds:.4f}", f"{accuracy:.6f}"))


def table(summary: Sequence[Mapping[str, Any]]) -> str:
    """Return the summary as aligned text with a legend."""
    header = (
        "scheme", "attack", "k", "r", "largest load", "computed",
        "accuracy", "seconds", "bytes/step", "same as reference",
    )  # fmt: skip
    rows = [
        (
            row["scheme"],
            f"{row['attack']} by {row['num_byzantine']}" if row["attack"] else "-",
            str(row["num_partitions"]),
            f"{row['redundancy']:.2f}",
            f"{row['max_load']}/{row['num_partitions']}",
            f"{row['batches_computed']:.1f}",
            f"{100 * row['test_accuracy']:.1f} %",
            f"{row['seconds']:.1f}",
            f"{row['bytes_sent_per_worker_per_step']:,.0f}",
            _same(row),
        )
        for row in summary
    ]
    return f"{text.table(header, rows, 'llrrrrrrrl')}\n\n{LEGEND}"


def _same(row: Mapping[str, Any]) -> str:
    if row["reference"] is None:
        return "-"
    same = row["identical_to_reference"]
    return f"{'not run' if same is None else 'yes' if same else 'NO'} ({row['reference']})"
