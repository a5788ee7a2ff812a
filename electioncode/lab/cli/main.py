"""``electioncode <command>``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import electioncode
from electioncode.lab.cli import bench, plan, reproduce, train
from electioncode.lab.errors import CommandError, missing_extra


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after an error that the message explains.

    Args:
        argv: the arguments after ``electioncode``; None: those of the process.
    """
    args = _parser().parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return args.run(args)
    except CommandError as error:
        message = str(error)
    except ImportError as error:
        message = missing_extra(error)
    if message:
        print(f"electioncode {args.command}: error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="electioncode", description="Sign voting for distributed training that stays right when some workers lie."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in (train, reproduce, plan, bench):
        command.add_parser(subparsers).set_defaults(run=command.run)
    subparsers.add_parser(
        "info",
        help="versions, compiler, instruction sets, threads, CUDA: what a bug report needs",
        description="Prints what this installation is made of.",
    ).set_defaults(run=_info)
    return parser


def _info(args: argparse.Namespace) -> int:
    config = electioncode.build_config()
    width = max(map(len, config))
    for key, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}: {'yes' if v is True else 'no' if v is False else v}" for k, v in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        print(f"{key:<{width}}  {value}")
    return 0
