"""What a figure leaves behind: one JSON file with every run, from which tables and pictures are made."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electioncode.lab.machine import describe

FORMAT = "electioncode figure"


class Results:
    """Keep the runs of a figure in a file, which is rewritten after each of them.

    Args:
        path: of the JSON file.
        figure: its name.
        settings: what all runs share. Runs that the file already has are kept if these are the same.
        command: as it was typed; paths in it are shortened to their last part.
        fresh: forget what the file has.

    Raises ValueError if the file holds runs with other settings, or something else.
    """

    def __init__(
        self, path: Path, figure: str, settings: Mapping[str, Any], command: Sequence[str], *, fresh: bool = False
    ) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "figure": figure,
            "command": shlex.join(_short(word) for word in command),
            "machine": describe(),
            "commit": commit(),
            "settings": json.loads(json.dumps(dict(settings))),
            "runs": [],
        }
        if path.exists() and not fresh:
            self._take_over(load(path))

    def _take_over(self, before: dict[str, Any]) -> None:
        mine, theirs = self.content["settings"], before["settings"]
        different = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        if different:
            raise ValueError(
                f"{self.path} holds runs with other settings ({', '.join(different)}): replace them with --fresh, or "
                "choose another --out"
            )
        self.content["runs"] = before["runs"]

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self.content["runs"]

    def has(self, curve: str, seed: int) -> bool:
        return any(run["curve"] == curve and run["seed"] == seed for run in self.runs)

    def add(self, run: dict[str, Any]) -> None:
        self.runs.append({**run, "commit": self.content["commit"]})
        self.runs.sort(key=lambda r: (r["curve"], r["seed"]))
        self.save()

    def save(self) -> None:
        """Write the file, one line per run, and replace the old one at once, so that it is never half written."""
        head = {key: value for key, value in self.content.items() if key != "runs"}
        runs = ",\n  ".join(json.dumps(run) for run in self.runs)
        text = json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n  {runs}\n ]\n}}\n'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self.path)


def load(path: Path) -> dict[str, Any]:
    """Return the content of a file that `Results` wrote; ValueError for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} holds no results of a figure")
    return content


def commit() -> str | None:
    """Return the commit of the package's own checkout, with a "+" if files differ from it; None without a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not just some checkout around an installation
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "..") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _short(word: str) -> str:
    return Path(word).name if "/" in word else word
