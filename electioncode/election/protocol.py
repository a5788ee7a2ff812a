"""The protocol: cast -> encode -> exchange -> decode.

Each worker encodes what is cast for the partitions that it holds and sends one message; whoever counts decodes the
messages. In the sign vote both are majorities. (Election Coding, Section 2; the attack model is Section 2's too:
Byzantine workers send any message.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.election.quorum import ElectionStats, QuorumError, Refusals, least_messages
from electioncode.schemes import Format, MajorityDecoder, Scheme, sign_vote_by
from electioncode.transport import Transport
from electioncode.votes import FrameError, PackedSigns, Policies, check_same, frame

Attack = Callable[..., Any]  # attack(message, worker=, step=)
Coalition = Callable[[Mapping[int, Any], int], Mapping[int, Any]]  # coalition(honest messages, step)


class Election(AbstractContextManager["Election"]):
    """One vote per step over k partitions, which n workers hold by an allocation code.

    Args:
        scheme: a :class:`electioncode.Scheme`; or an AllocationCode of n workers and k partitions, which means
            :func:`electioncode.schemes.sign_vote` over it by the policies below.
        transport: of n workers; the election closes it.
        tie: what a tie gives, in the local votes and in the global one: "plus", "minus", "random" or "abstain".
        zero, nan: what zeros and NaNs in casts of floats vote, as in :func:`electioncode.pack`.
        seed: of the random bits of "random" policies, 0 to 2**32 - 1; they also depend on the step. A partition
            draws from stream `partition`, so replicas agree; worker i's local vote from stream i + 1; the global
            vote from stream 0.
        quorum: the least number of messages that make a vote: an integer from 1 to n; "code": n minus the number of
            Byzantine workers that the code tolerates, so that it raises once more are missing than the code allows;
            None: any number, even 0, which is a tie.
        byzantine: worker -> attack, to try out what those workers can do: an attack takes the honest message
            ``(d,)`` and the keywords worker and step, and returns what to send instead.
        coalition: attackers that see everything: a function of the honest messages (worker -> message) and the step,
            which returns what some workers send instead (worker -> message). Needs all workers in one process.

    All processes give the same arguments. In every step, each process casts the partitions that it holds and
    resolves::

        for partition in election.partitions:
            election.cast(partition, gradient_of(partition))
        winner = election.resolve()

    The sign vote equals, with m the ``(k, d)`` signs, G the allocation and ties aside:
    ``np.sign(np.sign(G @ m).sum(axis=0))``.

    A message that is missing, late or malformed (of another length, version, d, step, sender or checksum)
    is that worker's abstention, noted in `stats`, and an error only where it leaves no quorum. Missing workers and
    liars together count against what the code tolerates.

    Raises ValueError where code and transport differ in the number of workers, and for an unknown policy or
    worker.
    """

    def __init__(
        self,
        scheme: Scheme | AllocationCode,
        transport: Transport,
        tie: str = "plus",
        zero: str = "plus",
        nan: str = "raise",
        seed: int = 0,
        *,
        quorum: int | str | None = None,
        byzantine: Mapping[int, Attack] | None = None,
        coalition: Coalition | None = None,
    ) -> None:
        if isinstance(scheme, AllocationCode):
            scheme = sign_vote_by(scheme, Policies.checked("Election", tie, zero, nan, seed))
        elif (tie, zero, nan, seed) != ("plus", "plus", "raise", 0):
            raise ValueError("Election: tie, zero, nan and seed must be given to the scheme, not to its election")
        n = scheme.code.num_workers
        if transport.num_workers != n:
            raise ValueError(
                f"Election: the transport must have as many workers as the code, {n}, got {transport.num_workers}"
            )
        for worker, attack in (byzantine or {}).items():
            if worker not in range(n):
                raise ValueError(f"Election: byzantine workers must be from 0 to {n - 1}, got {worker!r}")
            if not callable(attack):
                kind = type(attack).__name__
                raise TypeError(f"Election: byzantine attacks must be callable, got {kind} for worker {worker}")
        if coalition is not None and tuple(transport.workers) != tuple(range(n)):
            raise ValueError("Election: a coalition sees all messages, so it needs all workers in one process")
        self.scheme = scheme
        self.code = scheme.code
        self.transport = transport
        self.policies = scheme.decoder.policies if isinstance(scheme.decoder, MajorityDecoder) else None
        self.encoder = scheme.encoder(transport.workers)
        self.quorum = least_messages(quorum, self.code, "plus" if self.policies is None else self.policies.tie)
        self.byzantine = dict(byzantine or {})
        self.coalition = coalition
        held = {p for worker in transport.workers for p in self.code.partitions(worker)}
        self.partitions: tuple[int, ...] = tuple(sorted(int(p) for p in held))
        self.step = 0
        self._stats = ElectionStats()
        self._refusals = Refusals(n)
        self._cast: set[int] = set()
        self._d: int | None = None
        self._like: core.Backend = core.numpy_backend()  # the kind of array that was cast last

    @property
    def stats(self) -> ElectionStats:
        """Bytes and abstentions so far."""
        self._stats.bytes_sent = self.transport.bytes_sent
        self._stats.bytes_received = self.transport.bytes_received
        return self._stats

    def check_cast(self, partition: int) -> None:
        """Raise the ValueError that `cast` would raise for this partition now."""
        if partition not in self.partitions:
            raise ValueError(
                f"cast: partition must be one that this process holds, {self.partitions}, got {partition!r}"
            )
        if partition in self._cast:
            raise ValueError(f"cast: partition {partition} was already cast in step {self.step}")

    def cast(self, partition: int, x: Any) -> None:
        """Vote for one partition: once for each that this process holds, in any order.

        Args:
            partition: one of `partitions`.
            x: ``(d,)`` floats, in a sign vote taken by the zero and NaN policies, or PackedSigns ``(d,)``; NumPy or
                torch. d is the same in all casts of a step.

        In a sign vote a process with one worker adds the vote to a tally and keeps nothing else. After an error the
        partition may be cast again.
        """
        self.check_cast(partition)
        backend = x.backend if isinstance(x, PackedSigns) else core.backend_of(x, "cast")
        shape = tuple(x.shape)
        if len(shape) != 1 or (self._d is not None and shape != (self._d,)):
            expected = "(d,)" if self._d is None else f"({self._d},) as in the casts before"
            raise ValueError(f"cast: x must have shape {expected}, got {shape}")
        self.encoder.add(int(partition), x, self.step)
        self._like, self._d = backend, shape[0]
        self._cast.add(int(partition))

    def resolve(self, d: int | None = None) -> Any:
        """Exchange the messages of this step and return the winner; the election is then ready for the next step.

        Args:
            d: the number of coordinates; needed only where nothing is cast, as at a server.

        Returns the scheme's result; in a sign vote PackedSigns ``(d,)``, of the kind of array that was cast, with a
        mask exactly where tie is "abstain".

        Raises ValueError, before anything is sent, where partitions are not cast yet (cast them and resolve
        again) or d is missing or wrong. Raises QuorumError where too few messages came: with one process that
        counts, all processes raise it; with topology "allgather" each that counts too few. That, and whatever the
        transport raises (a silent server, say), ends the step: it is lost, and the next cast belongs to the next.
        """
        d = self._check_resolve(d)
        count = Count(self, d, self._device_backend())
        sent = {worker: count.format.encode(m, step=self.step, sender=worker) for worker, m in self._messages(d)}
        try:
            result = self.transport.exchange(sent, count.max_bytes, count)
            refused = self._refusals.decode(result, step=self.step, on_device=count.device is not None)
            if refused is not None:
                self._stats.refused += 1
                self._stats.note_step(self.step, refused)
                raise QuorumError(self.step, self.quorum or 0, self.code.num_workers, refused)
            winner = count.format.decode(result, d=d, step=self.step, sender=frame.SERVER)
            self._stats.steps += 1
            return self._kept(winner)
        finally:
            self.step += 1
            self._cast.clear()
            self._d = None
            self.encoder.reset()

    def _check_resolve(self, d: int | None) -> int:
        missing = sorted(set(self.partitions) - self._cast)
        if missing:
            raise ValueError(f"resolve: partitions {missing} are not cast yet in step {self.step}")
        if d is not None and self._d is not None and d != self._d:
            raise ValueError(f"resolve: d must be {self._d} as in the casts, got {d}")
        if d is None and self._d is None:
            raise ValueError("resolve: d must be given where this process casts nothing")
        return core.integer("resolve", "d", self._d if d is None else d, 0)

    def _messages(self, d: int) -> list[tuple[int, Any]]:
        """Return what the workers of this process send, the Byzantine ones in their own way."""
        messages = self.encoder.messages(d, self.step)
        if self.coalition is not None:
            messages = {**messages, **self.coalition(messages, self.step)}
        for worker in messages.keys() & self.byzantine.keys():
            messages[worker] = self.byzantine[worker](self._kept(messages[worker]), worker=worker, step=self.step)
        return list(messages.items())

    def _device_backend(self) -> core.Backend | None:
        """Return the backend on which messages stay tensors; None where they go through host memory."""
        # A transport that wraps another without saying so itself is given bytes.
        device: Any = getattr(self.transport, "device", None) if hasattr(type(self.transport), "device") else None
        if device is None or self.scheme.device_format is None:
            return None
        if device == "any":
            return self._like if self._like.name == "cuda" else None
        if device.type == "cuda" and core.cuda_unavailable():
            return None
        return core.backend_on(device)

    def _kept(self, result: Any) -> Any:
        """Return votes or floats as arrays of the kind that was cast, in memory of their own."""
        if isinstance(result, np.ndarray):
            return self._like.adopt(result)
        if not isinstance(result, PackedSigns):
            return result
        if result.backend.name == "cuda":
            return result.like(self._like)
        kept = [None if plane is None else self._like.adopt(plane) for plane in result.numpy()]
        return PackedSigns(kept[0], result.d, kept[1])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs: the step, which random policies draw from, and the policies it goes with."""
        return {"step": self.step, **({} if self.policies is None else self.policies.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at the step of a state_dict; the code and the number of workers may differ.

        Raises ValueError where a policy differs from the checkpoint's, and RuntimeError in the middle of a step.
        """
        if self._cast:
            raise RuntimeError(f"load_state_dict: resolve step {self.step} first, partitions are cast")
        check_same(state, {} if self.policies is None else self.policies.state_dict())
        self.step = int(state["step"])

    def close(self) -> None:
        """Close the transport."""
        self.transport.close()

    def __exit__(self, *error: object) -> None:
        self.close()


class Count:
    """What a transport calls where the messages of one step are counted.

    Attributes:
        device: where messages and result lie: a torch device, or None for host memory.
        format: of messages and result.
        max_bytes: no honest message or result is longer.
        split, join: as the format cuts and joins messages; None where it cannot.
    """

    def __init__(self, election: Election, d: int, backend: Any) -> None:
        self._election, self._d = election, d
        scheme = election.scheme
        self.device = None if backend is None else backend.device.torch_device
        self.format: Format = scheme.format
        if backend is not None:
            assert scheme.device_format is not None
            self.format = scheme.device_format(backend)
        self.max_bytes = max(self.format.max_bytes(d), election._refusals.num_bytes + 1)
        self.split = getattr(self.format, "split", None)
        self.join = self._join if self.split is not None else None

    def __call__(self, received: Sequence[Any], part: tuple[int, int] = (0, 1)) -> Any:
        """Return the result of the messages, in the order of their workers: encoded, or a refusal."""
        e = self._election
        first_word, size = (0, self._d) if part == (0, 1) else self.format.part(self._d, *part)  # type: ignore[attr-defined]
        messages: list[Any] = []
        missing = {}
        for worker, message in enumerate(received):
            try:
                if message is None:
                    raise FrameError("no message came in time, or one that was too long")
                messages.append(self.format.decode(message, d=size, step=e.step, sender=worker))
            except FrameError as error:
                missing[worker] = str(error)
                messages.append(None)
        if missing:
            e._stats.note_missing(e.step, missing)
        if e.quorum is not None and len(received) - len(missing) < e.quorum:
            return e._refusals.encode(missing, step=e.step, on_device=self.device is not None)
        result = e.scheme.decoder.decode(messages, size, e.step, first_word)
        return self.format.encode(result, step=e.step, sender=frame.SERVER)

    def _join(self, results: Sequence[Any]) -> Any:
        """Return the result of which these are the parts, or the refusal that one of them is."""
        for result in results:
            if self._election._refusals.decode(result, step=self._election.step, on_device=False) is not None:
                return result
        return self.format.join(results)  # type: ignore[attr-defined]
