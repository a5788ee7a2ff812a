"""The paper's figures, re-made: `figures` says which curves they have, `scales` with which settings, `runs` runs
them, `results` keeps what came out, `summary` and `picture` show it beside the paper's claims. Needs the extra
``train``. ``electioncode reproduce`` puts them together.
"""
