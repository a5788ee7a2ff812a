from __future__ import annotations

from importlib.metadata import entry_points

(script,) = entry_points(group="console_scripts", name="electioncode")
raise SystemExit(script.load()())
