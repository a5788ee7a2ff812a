"""A small GPT on the sources of this repository, trained by votes: DDP, one bit per coordinate.

    torchrun --nproc-per-node 3 examples/gpt.py

Look at the loss in bits per character (8 before training), and at what the model writes at the end.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from electioncode.hooks import MajorityVoteState, majority_vote_hook

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--width", type=int, default=128)
parser.add_argument("--context", type=int, default=64)
arguments = parser.parse_args()
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, context, width = dist.get_rank(), arguments.context, arguments.width

sources = sorted((Path(__file__).parents[1] / "electioncode").rglob("*.py"))
text = torch.tensor(list(b"\n".join(path.read_bytes() for path in sources)), dtype=torch.long)


class GPT(nn.Module):
    """Map bytes to logits of the next byte: pre-norm blocks and tied embeddings, as in GPT-2."""

    def __init__(self, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.token = nn.Embedding(256, width)
        self.position = nn.Embedding(context, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.token.weight, std=0.02)
        self.mask = nn.Transformer.generate_square_subsequent_mask(context)  # no buffer: DDP would send it every step

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        n = tokens.shape[1]
        x = self.token(tokens) + self.position.weight[:n]
        return self.blocks(x, mask=self.mask[:n, :n], is_causal=True) @ self.token.weight.T


torch.manual_seed(0)
model = DDP(GPT())
# Most rows of an embedding have no gradient in a given step, so they abstain.
state = MajorityVoteState(model, momentum=0.9, zero="abstain", tie="abstain")
model.register_comm_hook(state, majority_vote_hook)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=arguments.steps, cycle_momentum=False)
generator = torch.Generator().manual_seed(rank)
for step in range(arguments.steps):
    starts = torch.randint(len(text) - context - 1, (8,), generator=generator)
    window = torch.stack([text[s : s + context + 1] for s in starts])
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    schedule.step()
    if rank == 0 and (step % 50 == 0 or step == arguments.steps - 1):
        print(f"step {step}: {loss.item() / 0.6931:.2f} bits per character")

if rank == 0:
    tokens = torch.tensor([list(b"def ")])
    with torch.no_grad():
        for _ in range(context - 4):
            probabilities = model.module(tokens)[:, -1].div(0.7).softmax(dim=-1)
            tokens = torch.cat([tokens, torch.multinomial(probabilities, 1)], dim=1)
    print(bytes(tokens[0].tolist()).decode(errors="replace"))
dist.destroy_process_group()
