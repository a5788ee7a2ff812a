"""The paper's training runs: one model, one attack, several schemes. Needs the extra ``train``.

`datasets` and `models` say what is trained, `schemes` which codes and which attackers, `runner` trains one
scheme, `report` and `plots` write what came out. ``electioncode train`` puts them together.
"""
