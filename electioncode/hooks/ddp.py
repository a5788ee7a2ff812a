"""Vote in place of DistributedDataParallel's all-reduce: a communication hook and its state.

::

    model = DDP(net)
    state = MajorityVoteState(model, momentum=0.9)
    model.register_comm_hook(state, majority_vote_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)     # gradients are now votes, +1 and -1

Each bucket is packed to one bit per coordinate as soon as it is ready, and goes to all ranks while backward continues;
it is counted when all messages have arrived. (Bernstein et al., "signSGD with majority vote is communication efficient
and fault tolerant", ICLR 2019, Algorithm 1, with momentum at the worker; coded: Election Coding, Section 2.)
"""

# No annotations as strings here: register_comm_hook wants the classes themselves.

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

try:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
except ImportError as error:
    raise ImportError("electioncode.hooks needs PyTorch: pip install 'electioncode[torch]'") from error

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.core import words_for
from electioncode.hooks.exchange import exchange, message_device
from electioncode.hooks.layout import Layout, ParameterSlot
from electioncode.hooks.voter import SPARSE, BucketRound, BucketVote, BucketVoter, code_of
from electioncode.hooks.voters import voter_of
from electioncode.transport import check_digests
from electioncode.votes import PackedSigns, Policies, check_same


class MajorityVoteState:
    """Holds what :func:`majority_vote_hook` needs: rules, code and, for each parameter and partition, momentum.

    Args:
        model: the DistributedDataParallel model (or the module in it); momentum is kept by its parameters' names.
        code: AllocationCode with a worker for each rank of the group; None: ``uncoded``, each rank its own partition.
        momentum: in [0, 1): v <- momentum * v + (1 - momentum) * grad, of which the signs are taken, in the gradient's
            dtype and rounded as in :class:`electioncode.Signum`; 0 is SignSGD.
        tie, zero, nan: policies, as in :class:`electioncode.Election`.
        seed: of the random bits of "random" policies.
        group: process group; None: that of the model.
        trusted_workers: all ranks are honest; needed for min_size.
        min_size: parameters of fewer elements are averaged over the ranks, densely, and not voted on.
        verify_every: every so many steps the ranks compare 64 bits of a checksum of their winners, one step later.
            Ranks that differ are named: in a RuntimeWarning at the majority, in a RuntimeError at the others.
        byzantine: rank -> attack, to try out what those ranks can do, as in :class:`electioncode.Election`.
        allow_grad_scaler: do not look for a GradScaler. (Another model of the process may use one.)

    What is voted, coordinate by coordinate: each rank sends the majority of the signs of the partitions that it holds,
    and the gradient becomes the majority of what all ranks sent, +1 or -1 (0 where tie is "abstain"). A parameter whose
    whole gradient is zero at a rank, as where the rank did not use it, is an abstention of that rank: it neither votes
    nor changes its momentum. Where all ranks abstain on a parameter the result is 0.

    A rank that holds several partitions computes them one after the other, in ``with state.partition(j)``.

    Every rank counts for itself what the others sent straight to it, so a lying rank has its own vote and no more. A
    silent rank stops the others, as in all of DDP, until the group's timeout. Momentum belongs to a partition, not to
    the model: save it at one rank for each partition.

    Votes are packed and counted where the gradients are. On a GPU, from the second step on, everything is queued and
    nothing waits, except for checksums (verify_every) and for groups other than NCCL's, which take the bits from the
    CPU; a NaN that is to raise does so in a later step.

    Raises ValueError for arguments that do not fit each other.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        code: AllocationCode | None = None,
        *,
        momentum: float = 0.9,
        tie: str = "plus",
        zero: str = "plus",
        nan: str = "raise",
        seed: int = 0,
        group: Any = None,
        trusted_workers: bool = False,
        min_size: int = 0,
        verify_every: int = 0,
        byzantine: Mapping[int, Callable[..., PackedSigns]] | None = None,
        allow_grad_scaler: bool = False,
    ) -> None:
        self.momentum = core.number("MajorityVoteState", "momentum", momentum, 0, 1, "[)")
        self.policies = Policies.checked("MajorityVoteState", tie, zero, nan, seed)
        self.min_size = core.integer("MajorityVoteState", "min_size", min_size, 0)
        self.verify_every = core.integer("MajorityVoteState", "verify_every", verify_every, 0)
        if min_size and not trusted_workers:
            raise ValueError(
                "MajorityVoteState: min_size averages small parameters densely, which a single liar can turn into "
                "anything, so it needs trusted_workers=True"
            )
        self.allow_grad_scaler = allow_grad_scaler
        self.byzantine = dict(byzantine or {})
        self.step = 0
        self.bytes_sent = 0  # of votes and dense averages, to other ranks
        self.momentum_buffers: dict[int, dict[str, torch.Tensor]] = {}
        self.group = _group_of(model) if group is None else group
        self.code = code_of(self.group, code, "MajorityVoteState")
        self.bind(model)

    def bind(self, model: torch.nn.Module) -> None:
        """Take the parameters of a model; after unpickling, before the hook is registered."""
        self.group = _group_of(model) if self.group is None else self.group
        code = code_of(self.group, self.code, "MajorityVoteState")
        n = code.num_workers
        self.rank = dist.get_rank(self.group)
        self.partitions: tuple[int, ...] = code.partitions(self.rank)
        loads = [len(code.partitions(i)) for i in range(n)]
        if self.min_size and max(loads) > 1:
            raise ValueError("MajorityVoteState: min_size must be 0 where a rank holds several partitions")
        abstains = min(loads) <= 1 and self.policies.casts_abstain
        masked = abstains or (max(loads) > 1 and self.policies.tie == "abstain")
        self._bucket_vote = BucketVote(n, self.policies, masked)
        self._model = model
        module = model.module if isinstance(model, DistributedDataParallel) else model
        self._slots: dict[int, ParameterSlot] = {}
        first = 0
        for name, p in module.named_parameters():
            if p.requires_grad:
                self._slots[id(p)] = ParameterSlot(len(self._slots), name, p, first)
                first += words_for(p.numel())
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self._voter = self._new_voter()
        self._checksums: dict[int, int] = {}
        self._verifying: Any = None
        self._looked_for_scaler = 0

    def _new_voter(self) -> BucketVoter:
        own = self.rank, self.partitions, self.momentum_buffers, self.momentum, self.min_size, self.byzantine
        return voter_of(list(self._slots.values()), self._bucket_vote, *own)

    @contextmanager
    def partition(self, partition: int) -> Iterator[None]:
        """Enclose forward and backward of one partition; once per step for each that this rank holds, in any order.

        ::

            for partition in state.partitions:
                with state.partition(partition):
                    loss_of(model, partition).backward()
            optimizer.step()

        Gradients are cleared at its start. Only the last one synchronises: the others are packed when they end.
        """
        casts = self._voter.casts
        if partition not in self.partitions or partition in casts:
            why = "was already cast in this step" if partition in casts else "is not of this rank"
            raise ValueError(f"partition: {partition!r} {why}; it holds {self.partitions}")
        for slot in self._slots.values():
            slot.parameter.grad = None
        if len(casts) + 1 == len(self.partitions):
            yield
            return
        if not isinstance(self._model, DistributedDataParallel):
            raise TypeError("partition: the state must be made of the DistributedDataParallel model, not its module")
        with self._model.no_sync():
            yield
        self._voter.cast(partition, self.step)

    # one bucket

    def _layout(self, bucket: dist.GradBucket) -> Layout:
        params = bucket.parameters()
        key = tuple(map(id, params))
        if key not in self._layouts:
            strangers = [tuple(p.shape) for p in params if id(p) not in self._slots]
            if strangers:
                raise RuntimeError(
                    f"majority_vote_hook: parameters of shapes {strangers} are not of the state's model; after "
                    "unpickling, call state.bind(model)"
                )
            self._layouts[key] = Layout([self._slots[id(p)] for p in params], self.min_size)
        return self._layouts[key]

    def _vote(self, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        buffer = bucket.buffer()
        if buffer.is_sparse:
            raise ValueError(SPARSE)
        if not self.allow_grad_scaler and self._looked_for_scaler < 2 and bucket.is_last():
            self._looked_for_scaler += 1
            _refuse_grad_scaler()
        if bucket.index() == 0:
            self._start_to_verify()
        layout, index = self._layout(bucket), bucket.index()
        round_ = BucketRound(self._voter, layout, buffer, self.step)
        message = round_.message()
        futures = []
        dense = None
        if layout.slots:
            futures.append(round_.exchange(message, self.group).get_future())
            self.bytes_sent += round_.bytes_sent
        if layout.dense:
            dense, future = self._average(torch.cat([buffer[part] for part in layout.dense]))
            futures.append(future)
        if bucket.is_last():
            self._finish_verifying()
            self._voter.casts.clear()
            self.step += 1

        last: Any = round_.inbox if dense is None else dense

        def count(_: Any) -> torch.Tensor:
            for future in futures:
                future.wait()  # of collect_all's future the callback's stream would not wait for NCCL's
            for received in (round_.inbox, dense):
                if received is not None and received.is_cuda:  # read here on a stream of its own
                    received.record_stream(torch.cuda.current_stream(received.device))
            if round_.inbox is not None:
                round_.count()
                if self.verify_every and (round_.step + 1) % self.verify_every == 0:
                    self._checksums[index] = round_.checksum()
            if dense is not None:
                values = dense.to(buffer.device) / self.code.num_workers
                for part, value in zip(layout.dense, values.split(layout.dense_sizes), strict=True):
                    buffer[part] = value
            if buffer.is_cuda and not last.is_cuda:
                torch.cuda.current_stream(buffer.device).synchronize()  # the future of a CPU group knows no streams
            return buffer

        return futures[-1].then(count)

    def _average(self, dense: torch.Tensor) -> tuple[torch.Tensor, torch.futures.Future]:
        dense = dense.to(message_device(self.group, dense.device))
        work = dist.all_reduce(dense, group=self.group, async_op=True)
        n = self.code.num_workers
        self.bytes_sent += 2 * (n - 1) * dense.numel() * dense.element_size() // n
        return dense, work.get_future()

    # comparing results

    def _start_to_verify(self) -> None:
        """Send the checksum of the step before with the first bucket of this one; the last looks at the answers."""
        if self.step and self.verify_every and self.step % self.verify_every == 0 and self._checksums:
            digest = np.array([self._checksums.pop(i) for i in sorted(self._checksums)], dtype=np.uint64)
            message = np.array([core.checksum(digest)], dtype=np.uint64).view(np.int64)
            inbox, work = exchange(torch.from_numpy(message), self.group)
            self.bytes_sent += inbox[1:].numel()
            self._verifying = inbox, work.get_future(), self.step

    def _finish_verifying(self) -> None:
        if self._verifying is None:
            return
        (inbox, future, step), self._verifying = self._verifying, None
        future.wait()
        check_digests({r: bytes(d) for r, d in enumerate(inbox.cpu().numpy())}, self.rank, step)

    # checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return step, rules and this rank's momentum, by partition and parameter name, flat in memory order."""
        return {
            "step": self.step,
            "momentum_buffers": {j: dict(buffers) for j, buffers in self.momentum_buffers.items()},
            **self._rules(),
        }

    def _rules(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "min_size": self.min_size, **self.policies.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state_dict of this rank.

        Raises ValueError where rules, partitions or parameters are not those of the checkpoint.
        """
        check_same(state, self._rules())
        sizes = {slot.name: slot.parameter.numel() for slot in self._slots.values()}
        loaded: dict[int, dict[str, torch.Tensor]] = {}
        for partition, buffers in state["momentum_buffers"].items():
            if partition not in self.partitions:
                raise ValueError(
                    f"load_state_dict: momentum must be of this rank's partitions, {self.partitions}, got {partition}"
                )
            for name, buffer in buffers.items():
                if sizes.get(name) != buffer.numel():
                    raise ValueError(
                        f"load_state_dict: {name!r} must have {sizes.get(name, 'no')} elements, got {buffer.numel()}"
                    )
            loaded[partition] = {name: buffer.clone() for name, buffer in buffers.items()}
        self.momentum_buffers, self.step = loaded, int(state["step"])
        self._voter = self._new_voter()

    def __getstate__(self) -> dict[str, Any]:
        warnings.warn(
            "MajorityVoteState: process group and model are not pickled; after unpickling, call state.bind(model)",
            UserWarning,
            stacklevel=2,
        )
        kept = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        return {**kept, "group": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._slots, self._layouts = {}, {}
        self._checksums, self._verifying, self._looked_for_scaler = {}, None, 0


def majority_vote_hook(state: MajorityVoteState, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Vote on a bucket: ``ddp.register_comm_hook(MajorityVoteState(ddp), majority_vote_hook)``.

    Buckets are float16, bfloat16, float32 or float64 (so it can be wrapped by PyTorch's compressing hooks), and are
    returned as +1, -1 and 0 in the same dtype. Raises ValueError for sparse gradients and NaNs, TypeError for compiled
    DDP's Python reducer, RuntimeError where a GradScaler is in use.
    """
    if isinstance(bucket, tuple):
        raise TypeError(
            "majority_vote_hook: torch._dynamo.config.optimize_ddp = 'python_reducer' hands over one gradient at a "
            "time, of which no vote can be made; leave it at True ('ddp_optimizer')"
        )
    return state._vote(bucket)


def _group_of(model: torch.nn.Module) -> Any:
    return model.process_group if isinstance(model, DistributedDataParallel) else dist.group.WORLD


def _refuse_grad_scaler() -> None:
    kind = torch.amp.GradScaler
    if any(issubclass(type(o), kind) and o.is_enabled() and o._scale is not None for o in gc.get_objects()):
        raise RuntimeError(
            "majority_vote_hook: a GradScaler has scaled a loss in this process. It would divide the votes, +1 and -1, "
            "by its scale, and never see an overflow at another rank. Signs do not depend on the scale: train without "
            "it (bfloat16 needs none), or with allow_grad_scaler=True if it belongs to another model"
        )
