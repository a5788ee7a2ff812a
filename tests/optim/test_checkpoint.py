"""A run that is saved, thrown away and resumed ends with the bits of the run that went straight through."""

from __future__ import annotations

import pytest

import electioncode as ec
from electioncode.transport import InProcessTransport

torch = pytest.importorskip("torch")

both = pytest.mark.parametrize("make", [ec.Signum, ec.Lion])


class Run:
    """All workers of a code in one process, with everything random that can be."""

    def __init__(self, make, code, dtype=torch.float32, lr=0.01):
        torch.manual_seed(3)
        self.model = torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).to(dtype)
        transport = InProcessTransport(code.num_workers)
        self.election = ec.Election(code, transport, tie="random", zero="random", seed=4)
        self.optimizer = make(self.model.parameters(), lr, weight_decay=0.1, election=self.election)
        self.dtype = dtype

    def train(self, steps):
        for step in steps:
            for partition in self.election.partitions:
                self.optimizer.zero_grad()
                x = torch.randn(4, 10, generator=torch.Generator().manual_seed(100 * step + partition))
                self.model(x.to(self.dtype)).square().sum().backward()
                self.optimizer.cast(partition)
            self.optimizer.step()
        return self

    def state_dict(self):
        parts = {"model": self.model, "optimizer": self.optimizer, "election": self.election}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.election.load_state_dict(state["election"])

    def equals(self, other):
        return all(torch.equal(p, q) for p, q in zip(self.model.parameters(), other.model.parameters(), strict=True))


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_file_resumes_bit_for_bit(make, dtype, tmp_path):
    code = ec.cyclic(4, 2)  # even: ties, and thus the step, matter
    straight = Run(make, code, dtype).train(range(6))
    torch.save(Run(make, code, dtype).train(range(3)).state_dict(), tmp_path / "run.pt")
    resumed = Run(make, code, dtype, lr=7.0)
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    resumed.load_state_dict(state)
    assert resumed.train(range(3, 6)).equals(straight)

    for part in ("optimizer", "election"):  # each of them matters
        partial = Run(make, code, dtype)
        partial.load_state_dict({**state, part: getattr(partial, part).state_dict()})
        assert not partial.train(range(3, 6)).equals(straight)


@both
def test_another_code_may_take_over(make):
    """Momentum belongs to the partition, whoever holds it: a code that changes no winner changes no bit."""
    straight = Run(make, ec.uncoded(5)).train(range(6))
    state = Run(make, ec.uncoded(5)).train(range(3)).state_dict()
    resumed = Run(make, ec.deterministic(5, 2))
    resumed.load_state_dict(state)
    assert resumed.train(range(3, 6)).equals(straight)


@both
@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_torch_distributed_checkpoint(make, tmp_path):
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    code = ec.cyclic(4, 2)
    run = Run(make, code).train(range(3))
    dcp.save(run.state_dict(), checkpoint_id=tmp_path / "plain", no_dist=True)
    model, optimizer = get_state_dict(run.model, run.optimizer)
    saved = {"model": model, "optimizer": optimizer, "election": run.election.state_dict()}
    dcp.save(saved, checkpoint_id=tmp_path / "names", no_dist=True)
    run.train(range(3, 6))

    resumed = Run(make, code, lr=7.0)
    resumed.optimizer.init_state()
    state = resumed.state_dict()
    dcp.load(state, checkpoint_id=tmp_path / "plain", no_dist=True)
    resumed.load_state_dict(state)
    assert resumed.train(range(3, 6)).equals(run)

    named = Run(make, code, lr=7.0)
    named.optimizer.init_state()
    model, optimizer = get_state_dict(named.model, named.optimizer)
    state = {"model": model, "optimizer": optimizer, "election": named.election.state_dict()}
    dcp.load(state, checkpoint_id=tmp_path / "names", no_dist=True)
    set_state_dict(
        named.model, named.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
    )
    named.election.load_state_dict(state["election"])
    assert named.train(range(3, 6)).equals(run)

