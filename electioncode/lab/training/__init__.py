"""The paper's training runs: one model, one attack, several schemes. Needs the extra ``train``.

What is trained: `datasets` (images), `cifar` (CIFAR-10's own files), `amazon` (logistic regression on sparse rows) and
`models`. How: `contenders` names codes and attackers, `collusion` lets attackers see everything, `partitions` keeps
samples where they are, and `server_momentum` does what the published code does. `runner` trains one contender on one
task; `report` writes what came out.
"""

from __future__ import annotations

from electioncode.lab.training import amazon, contenders, datasets, models, report, runner
from electioncode.lab.training.contenders import Contender
from electioncode.lab.training.datasets import Dataset
from electioncode.lab.training.runner import Result, Settings, Task, train

__all__ = [
    "Contender",
    "Dataset",
    "Result",
    "Settings",
    "Task",
    "amazon",
    "contenders",
    "datasets",
    "models",
    "report",
    "runner",
    "train",
]
