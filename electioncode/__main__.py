from __future__ import annotations

from electioncode.cli import main

raise SystemExit(main())
