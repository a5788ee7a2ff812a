"""What a figure leaves behind: one JSON file with every run, from which all else is made."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import electioncode

FORMAT = "electioncode figure"


class Results:
    """The runs of a figure in a file, which is written anew after each of them.

    Args:
        path: of the JSON file.
        figure: its name.
        settings: what all runs share. Runs that the file already has are kept where these are the same.
        command: as it was typed; paths in it are shortened to their last part.
        fresh: forgets what the file has.

    Raises ValueError where the file holds runs with other settings, or is none of this kind.
    """

    def __init__(
        self, path: Path, figure: str, settings: Mapping[str, Any], command: Sequence[str], *, fresh: bool = False
    ) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "figure": figure,
            "command": shlex.join(_short(word) for word in command),
            "machine": machine(),
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
        """Writes the file, one line a run, in one move, so that it is whole at every moment."""
        head = {key: value for key, value in self.content.items() if key != "runs"}
        runs = ",\n  ".join(json.dumps(run) for run in self.runs)
        text = json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n  {runs}\n ]\n}}\n'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self.path)


def load(path: Path) -> dict[str, Any]:
    """The content of a file that `Results` wrote; ValueError if it is another."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} holds no results of a figure")
    return content


def machine() -> dict[str, Any]:
    """What ran it, without any name."""
    import torch

    config = electioncode.build_config()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "instruction_set": config["instruction_set"],
        "gpu": gpu,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "electioncode": electioncode.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the package's own checkout, with a "+" where files differ from it; None outside of one."""

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
