"""``electioncode train`` in every process, with the arguments of this program."""

from __future__ import annotations

import sys

from electioncode.lab.cli.main import main

sys.exit(main(sys.argv[1:]))
