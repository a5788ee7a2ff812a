"""Run commands of the lab in every process."""

from __future__ import annotations

from electioncode.lab.cli.main import main


def command(*arguments: str) -> None:
    assert main(list(arguments)) == 0
