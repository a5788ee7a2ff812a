"""The table of figures: every curve, every setting, and what the paper claims about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

# What zeros and ties vote: (zero, tie) of an election.
POLICIES = {
    "abstain": ("abstain", "abstain"),  # the authors' code: sign(0) = 0, for votes and for ties
    "one bit": ("plus", "random"),
    "one bit, +1": ("plus", "plus"),
    "one bit, random": ("random", "random"),
}


@dataclass(frozen=True)
class Curve:
    """One line of a figure.

    Attributes:
        name: unique in its figure.
        scheme: for `training.contenders.build`.
        attack: None: that of the figure.
        policy: one of `POLICIES`.
        partitions: "drawn" or "fixed", see `training.Settings`.
        panel: curves with the same panel are drawn and compared together.
        varies: whether anything in it depends on the seed; if not, one seed is enough.
    """

    name: str
    scheme: str
    attack: str | None = None
    policy: str = "one bit"
    partitions: str = "drawn"
    panel: str = ""
    varies: bool = True


@dataclass(frozen=True)
class Claim:
    """What the paper says about a figure.

    Attributes:
        text: in our words.
        gain: percentage points between coded curves and the uncoded one under attack, from and to; None: not stated.
        log: label -> values after epochs 1, 2, ..., from the logs of the authors' published code.
        target: the paper's reference level of the metric, 0 to 1; None: it has none.
    """

    text: str
    gain: tuple[float, float] | None = None
    log: dict[str, tuple[float, ...]] = field(default_factory=dict)
    target: float | None = None


@dataclass(frozen=True)
class Figure:
    """One (n, b) of a figure.

    Attributes:
        name: as on the command line.
        title: for people.
        task: "amazon" or "cifar10".
        num_workers: n.
        num_byzantine: b.
        attack: of its curves, by name.
        batch_size: samples per step, over all partitions.
        curves: what is drawn.
        claim: of the paper.
        seeds: runs per curve, by default.
        cost: of the default run, for people.
        milestones: epochs at which the learning rate falls to a tenth.
        train_rows: how many of Amazon's rows to train on; the others are held out.
        allow_empty: Bernoulli codes may leave workers idle.
    """

    name: str
    title: str
    task: str
    num_workers: int
    num_byzantine: int
    attack: str
    batch_size: int
    curves: tuple[Curve, ...]
    claim: Claim
    seeds: int
    cost: str
    milestones: tuple[int, ...] = (40, 80)
    train_rows: int = 0
    allow_empty: bool = False


_AUTHORS, _PLUS, _RANDOM, _DRAWN = (
    "abstain at 0 and at ties, as the authors do",
    "one bit: 0 and ties vote +1",
    "one bit: 0 and ties vote at random",
    "abstain, rows dealt anew every epoch",
)
# One trial of n = 15, b = 5 after each of 8 epochs; its Bernoulli code has r = 32 / 15.
_LOG: dict[str, tuple[float, ...]] = {
    "authors' log, Bernoulli": (0.6255, 0.6411, 0.6538, 0.6641, 0.6720, 0.6786, 0.6839, 0.6881),
    "authors' log, uncoded": (0.5925, 0.6060, 0.6180, 0.6280, 0.6363, 0.6433, 0.6492, 0.6543),
}


def _amazon(
    name: str, n: int, batch: int, rows: int, cost: str, *, log: dict[str, tuple[float, ...]], drawn: bool
) -> Figure:
    def panel(title: str, policy: str, names: Sequence[str], partitions: str = "fixed") -> list[Curve]:
        tag = {_AUTHORS: "", _PLUS: " (+1)", _RANDOM: " (random)", _DRAWN: " (drawn)"}[title]
        moves = partitions == "drawn" or "random" in policy
        return [Curve(f"{s}{tag}", s, None, policy, partitions, title, varies=moves or s != "no-attack") for s in names]

    few = ("no-attack", "uncoded", "bernoulli-2")
    all_codes = (*few, "bernoulli-3", "deterministic", "repetition", "planned-bernoulli-3")
    return Figure(
        name=name,
        title=f"Figure 6, Amazon Employee Access, {n} workers, 5 lie",
        task="amazon",
        num_workers=n,
        num_byzantine=5,
        attack="directional",
        batch_size=n * batch,
        train_rows=rows,
        milestones=(1,),
        allow_empty=True,
        curves=(
            *panel(_AUTHORS, "abstain", all_codes),
            *panel(_PLUS, "one bit, +1", (*few, "deterministic")),
            *panel(_RANDOM, "one bit, random", few),
            *(panel(_DRAWN, "abstain", few, "drawn") if drawn else ()),
        ),
        claim=Claim(
            "Bernoulli codes of E[r] = 2 are clearly better than the uncoded vote under the directional attack.",
            log=log,
            target=0.7,
        ),
        seeds=5,
        cost=cost,
    )


_FIGURE_4 = Claim("Codes gain 5 to 10 points over the uncoded vote and come close to no attack.", gain=(5, 10))
_FIGURE_5 = Claim("Codes of small redundancy gain 15 to 30 points over the uncoded vote.", gain=(15, 30))
_GPU = "in full on a GPU; small: 2 minutes on 2 cores"


def _cifar(name: str, n: int, b: int, batch: int, codes: Sequence[str]) -> Figure:
    return Figure(
        name=name,
        title=f"Figure {name[3]}({name[4]}), CIFAR-10, {n} workers, {b} lie",
        task="cifar10",
        num_workers=n,
        num_byzantine=b,
        attack="reverse",
        batch_size=batch,
        milestones=(20, 40, 80) if n == 15 else (40, 80),
        curves=tuple(Curve(s, s) for s in ("no-attack", "uncoded", *codes)),
        claim=_FIGURE_4 if name.startswith("fig4") else _FIGURE_5,
        seeds=3,
        cost=_GPU,
    )


def _beyond(figure: Figure) -> Figure:
    """Return the same setting with planned and cyclic codes, also against colluders who know everything."""
    first = figure.curves[0]
    small = "bernoulli-2.5" if figure.num_workers == 5 else "bernoulli-3"
    planned = f"planned-{small}"
    codes = ("uncoded", small, "cyclic-3", planned, "planned")
    curves = []
    for attack, tag in ((figure.attack, ""), ("omniscient", " (omniscient)")):
        for scheme in ("no-attack", *codes):
            varies = first.varies or scheme != "no-attack"
            panel = f"attack: {attack}"
            curves.append(replace(first, name=scheme + tag, scheme=scheme, attack=attack, panel=panel, varies=varies))
    return replace(
        figure,
        name=f"{figure.name}-beyond",
        title=f"{figure.title}: codes that are not in the paper",
        curves=tuple(curves),
        claim=Claim("Not in the paper.", target=figure.claim.target),
        cost="as " + figure.name,
    )


_ALL = (
    _cifar("fig4a", 5, 1, 120, ("deterministic", "bernoulli-2.5")),
    _cifar("fig4b", 9, 2, 576, ("bernoulli-3", "bernoulli-2")),
    _cifar("fig4c", 15, 3, 240, ("bernoulli-3", "bernoulli-2")),
    _cifar("fig5a", 5, 2, 240, ("deterministic-1", "bernoulli-2.5")),
    _cifar("fig5b", 9, 3, 126, ("bernoulli-3", "bernoulli-2")),
    _cifar("fig5c", 15, 6, 240, ("bernoulli-3", "bernoulli-2")),
    _amazon("fig6a", 15, 15, 26_325, "about 5 minutes on 2 idle cores", log=_LOG, drawn=True),
    _amazon("fig6b", 49, 5, 28_665, "about 12 minutes on 2 idle cores", log={}, drawn=False),
)
FIGURES: dict[str, Figure] = {f.name: f for g in _ALL for f in (g, _beyond(g))}


def find(names: Sequence[str]) -> list[Figure]:
    """Return figures by name; "fig4", "fig5", "fig6" stand for their parts.

    Raises ValueError for any other name.
    """
    found: dict[str, Figure] = {}
    for name in names:
        parts = [name] if name in FIGURES else [f for f in FIGURES if f[:-1] == name]
        if not parts:
            known = ", ".join((*FIGURES, "fig4", "fig5", "fig6"))
            raise ValueError(f"figure must be one of {known}, got {name!r}")
        found.update((part, FIGURES[part]) for part in parts)
    return list(found.values())
