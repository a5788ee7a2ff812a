"""The command line: ``electioncode <command>``, one module per command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

from electioncode.lab.errors import CommandError, missing_extra

COMMANDS = ("train", "reproduce", "plan", "bench")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, or 2 after an error that the message explains.

    Args:
        argv: the arguments after ``electioncode``; None: those of the process.
    """
    parser, runs = _parser()
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return runs[args.command](args)
    except CommandError as error:
        message = str(error)
    except ImportError as error:
        message = missing_extra(error)
    if message:
        print(f"electioncode {args.command}: error: {message}", file=sys.stderr)
    return 2


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[Any], int]]]:
    """The parser, and the function behind each command."""
    parser = argparse.ArgumentParser(
        prog="electioncode",
        description="Sign voting for distributed training that stays right when some workers lie.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    runs: dict[str, Callable[[Any], int]] = {}
    for command in COMMANDS:
        name = f"electioncode.lab.cli.{command}"
        if importlib.util.find_spec(name) is not None:
            module = importlib.import_module(name)
            module.add_parser(subparsers)
            runs[command] = module.run
    subparsers.add_parser(
        "info",
        help="versions, compiler, instruction sets, threads, CUDA: what a bug report needs",
        description="Prints what this installation is made of.",
    )
    runs["info"] = _info
    return parser, runs


def _info(args: argparse.Namespace) -> int:
    import electioncode

    config = electioncode.build_config()
    width = max(map(len, config))
    for key, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}: {'yes' if v is True else 'no' if v is False else v}" for k, v in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        print(f"{key:<{width}}  {value}")
    return 0
