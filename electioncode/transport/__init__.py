"""Carry one message per worker to whoever counts, and the result back. Transports know nothing of voting.

Every transport has one method that does it, ``exchange``, and calls the decoder that it is given; so a new scheme needs
no new transport, and a new transport no new scheme. Between processes, `ranks` has the topologies, written once over
three mails: MPI (`mailbox`), Gloo (`gloo`) and collectives (`collective`).
"""

from __future__ import annotations

from electioncode.transport.base import Buffer, Transport, check_digests
from electioncode.transport.in_process import InProcessTransport
from electioncode.transport.mpi import MPITransport
from electioncode.transport.torch_distributed import TorchTransport
