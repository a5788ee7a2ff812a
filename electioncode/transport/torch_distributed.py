"""Carry messages between the processes of a torch.distributed job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from electioncode.transport.ranks import Mail, RankTransport

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class TorchTransport(RankTransport):
    """One process per worker, in a job that torchrun (or anything else) has started.

    Args:
        group: a process group; None is the default one. With Gloo, the transport opens connections of its own between
            its processes. They all make it together, in the same order where they make several.
        topology, trusted_workers, timeout, verify_every: see :class:`electioncode.transport.ranks.RankTransport`, which
            also says what ``exchange`` raises. No timeout with NCCL, where a silent rank stops the others.

    With Gloo, messages go from peer to peer, each with a header of 16 bytes. With NCCL alone, messages go by all-to-all
    between the current CUDA devices, where all ranks must take part: an election counts them there ("sharded": on the
    CPU). A group with backend "cpu:gloo,cuda:nccl" takes Gloo.

    Not covered: a rank whose own torch.distributed lies about the sizes that it announced. Gloo ends a process that
    receives more bytes than it asked for, and NCCL waits. Where workers may have been taken over as far as that, use
    :class:`MPITransport`, which looks at a message before it receives it.

    Needs PyTorch: ``pip install 'electioncode[torch]'``. Not thread-safe.
    """

    def __init__(
        self,
        group: ProcessGroup | None = None,
        topology: str = "server",
        *,
        trusted_workers: bool = False,
        timeout: float | None = None,
        verify_every: int = 0,
    ) -> None:
        super().__init__(topology, timeout, trusted_workers, verify_every)
        dist = _import_distributed()
        if not dist.is_initialized():
            raise RuntimeError(
                "TorchTransport: torch.distributed is not initialized; call torch.distributed.init_process_group "
                "first, in a process started by torchrun"
            )
        group = dist.group.WORLD if group is None else group
        rank, size = dist.get_rank(group), dist.get_world_size(group)
        if rank < 0:
            raise ValueError("TorchTransport: this process must be one of the group")
        self._start(rank, size, "torchrun --nproc-per-node", lambda: _open_mail(dist, group, timeout))


def _open_mail(dist: Any, group: Any, timeout: float | None) -> Mail:
    import torch

    from electioncode.transport import collective, gloo

    backend = dist.get_backend_config(group)
    if "gloo" in backend:
        return gloo.Mail(group)
    if "nccl" not in backend:
        raise ValueError(f"TorchTransport: group must be of backend gloo or nccl, got {backend!r}")
    if timeout is not None:
        raise ValueError(
            "TorchTransport: timeout must be None with NCCL, where a silent rank stops the others; give a Gloo group: "
            'group=torch.distributed.new_group(backend="gloo")'
        )
    return collective.Mail(group, torch.device("cuda", torch.cuda.current_device()))


def _import_distributed() -> Any:
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise ImportError("TorchTransport needs PyTorch: pip install 'electioncode[torch]'") from error
    if not dist.is_available():
        raise ImportError("TorchTransport needs a PyTorch built with torch.distributed")
    return dist
