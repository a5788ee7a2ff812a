"""The protocol: cast -> local majority -> exchange -> majority.

Each worker votes over the partitions that it holds and sends one message; whoever counts takes the majority
of the messages. (Election Coding, Section 2; the attack model is Section 2's too: Byzantine workers send
any message.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode import core
from electioncode.election.quorum import (
    ElectionStats,
    QuorumError,
    decode_refusal,
    encode_refusal,
    least_messages,
    refusal_bytes,
)
from electioncode.schemes import Stored, Tallied
from electioncode.votes import PackedSigns, Tally, frame, majority, planes, random_signs

if TYPE_CHECKING:
    from electioncode.codes import AllocationCode
    from electioncode.transport import Transport

_RULES = ("seed", "tie", "zero", "nan")
Attack = Callable[..., PackedSigns]  # attack(message, worker=, step=)


class Election:
    """One vote a step over the signs of k partitions, which n workers hold by an allocation code.

    Args:
        code: AllocationCode of n workers and k partitions.
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

    All processes give the same arguments. In every step, each process casts the partitions that it holds and
    resolves::

        for partition in election.partitions:
            election.cast(partition, gradient_of(partition))
        winner = election.resolve()

    Equals, with m the ``(k, d)`` signs, G the allocation and ties aside: ``np.sign(np.sign(G @ m).sum(axis=0))``.

    A message that is missing, late or malformed (of another length, version, d, step, sender or checksum)
    is that worker's abstention, noted in `stats`, and an error only where it leaves no quorum. Missing workers and
    liars together count against what the code tolerates.

    Raises ValueError where code and transport differ in the number of workers, and for an unknown policy or
    worker.
    """

    def __init__(
        self,
        code: AllocationCode,
        transport: Transport,
        tie: str = "plus",
        zero: str = "plus",
        nan: str = "raise",
        seed: int = 0,
        *,
        quorum: int | str | None = None,
        byzantine: Mapping[int, Attack] | None = None,
    ) -> None:
        if transport.num_workers != code.num_workers:
            raise ValueError(
                f"Election: the transport must have as many workers as the code, {code.num_workers}, "
                f"got {transport.num_workers}"
            )
        core.choice("Election", "tie", tie, core.TIE)
        core.choice("Election", "zero", zero, core.ZERO)
        core.choice("Election", "nan", nan, core.NAN)
        core.key("Election", seed=seed)
        for worker, attack in (byzantine or {}).items():
            if worker not in range(code.num_workers):
                limit = code.num_workers - 1
                raise ValueError(f"Election: byzantine workers must be from 0 to {limit}, got {worker!r}")
            if not callable(attack):
                kind = type(attack).__name__
                raise TypeError(
                    f"Election: byzantine attacks must be callable, got {kind} for worker {worker}"
                )
        self.code = code
        self.transport = transport
        self.tie, self.zero, self.nan, self.seed = tie, zero, nan, int(seed)
        self.quorum = least_messages(quorum, code, tie)
        self.byzantine = dict(byzantine or {})
        held = {p for worker in transport.workers for p in code.partitions(worker)}
        self.partitions: tuple[int, ...] = tuple(sorted(int(p) for p in held))
        self.step = 0
        self._stats = ElectionStats()
        self._ballots: Tallied | Stored
        self._ballots = Tallied(self) if len(transport.workers) <= 1 else Stored(self)
        self._cast: set[int] = set()
        self._d: int | None = None
        self._like: core.Backend = core.numpy_backend()
        self._frames: dict[Any, np.ndarray] = {}

    @property
    def stats(self) -> ElectionStats:
        """Bytes and abstentions so far."""
        self._stats.bytes_sent = self.transport.bytes_sent
        self._stats.bytes_received = self.transport.bytes_received
        return self._stats

    def check_cast(self, partition: int) -> None:
        """Raises the ValueError that `cast` would raise for this partition now."""
        if partition not in self.partitions:
            raise ValueError(
                f"cast: partition must be one that this process holds, {self.partitions}, got {partition!r}"
            )
        if partition in self._cast:
            raise ValueError(f"cast: partition {partition} was already cast in step {self.step}")

    def cast(self, partition: int, x: Any) -> None:
        """Votes for one partition: once for each that this process holds, in any order.

        Args:
            partition: one of `partitions`.
            x: ``(d,)`` floats, whose signs are taken by the zero and NaN policies, or PackedSigns ``(d,)``;
                NumPy or torch. d is the same in all casts of a step.

        A process with one worker adds the vote to a tally and keeps nothing else. After an error the
        partition may be cast again.
        """
        self.check_cast(partition)
        backend = x.backend if isinstance(x, PackedSigns) else core.backend_of(x, "cast")
        shape = tuple(x.shape)
        if len(shape) != 1 or (self._d is not None and shape != (self._d,)):
            expected = "(d,)" if self._d is None else f"({self._d},) as in the casts before"
            raise ValueError(f"cast: x must have shape {expected}, got {shape}")
        self._ballots.add(int(partition), x, shape[0])
        self._like, self._d = backend, shape[0]
        self._cast.add(int(partition))

    def resolve(self, d: int | None = None) -> PackedSigns:
        """The winner of this step; the election is then ready for the next.

        Args:
            d: the number of coordinates; needed only where nothing is cast, as at a server.

        Returns PackedSigns ``(d,)``, of the kind of array that was cast, with a mask exactly where tie is
        "abstain".

        Raises ValueError, before anything is sent, where partitions are not cast yet (cast them and resolve
        again) or d is missing or wrong. Raises QuorumError where too few messages came: with one process that
        counts, all processes raise it; with topology "allgather" each that counts too few. That, and whatever the
        transport raises (a silent server, say), ends the step: it is lost, and the next cast belongs to the next.
        """
        d = self._check_resolve(d)
        votes, backend = self._messages(d), self._device_backend()
        if backend is None:
            messages: dict[int, Any] = {worker: self._encode(vote, worker) for worker, vote in votes.items()}
        else:
            messages = {worker: planes.encode(vote, backend) for worker, vote in votes.items()}
        try:
            if backend is None:
                winner = self._resolve_in_frames(messages, d)
            else:
                winner = self._resolve_in_planes(messages, d, backend)
            self._stats.steps += 1
            return winner
        finally:
            self.step += 1
            self._cast.clear()
            self._d = None
            self._ballots.reset()

    def _resolve_in_frames(self, messages: Mapping[int, Any], d: int) -> PackedSigns:
        most = max(frame.frame_bytes(d, 2), refusal_bytes(self.code.num_workers))

        def count(received: Sequence[Any], part: tuple[int, int] = (0, 1)) -> np.ndarray:
            first, size = frame.part(d, *part)
            votes, refusal = self._admit(
                received, lambda message, worker: frame.decode(message, d=size, step=self.step, sender=worker)
            )
            return self._encode(self._elect(votes, size, first), frame.SERVER) if refusal is None else refusal

        result = self.transport.exchange(messages, most, Count(count))
        self._raise_refusal(result)
        winner = frame.decode(result, d=d, step=self.step, sender=frame.SERVER)
        kept = [None if plane is None else self._like.adopt(plane) for plane in winner.numpy()]
        return PackedSigns(kept[0], d, kept[1])

    def _resolve_in_planes(self, messages: Mapping[int, Any], d: int, backend: core.Backend) -> PackedSigns:
        """The same between devices, where messages stay tensors."""
        most = max(planes.planes_bytes(d), refusal_bytes(self.code.num_workers) + 1)

        def count(received: Sequence[Any], part: tuple[int, int] = (0, 1)) -> Any:
            votes, refusal = self._admit(received, lambda message, worker: planes.decode(message, d))
            return planes.encode(self._elect(votes, d), backend) if refusal is None else planes.encode_refusal(refusal)

        result = self.transport.exchange(messages, most, Count(count, self.transport.device))
        refusal = planes.decode_refusal(result)
        if refusal is not None:
            self._raise_refusal(refusal)
        winner = planes.decode(result, d).like(self._like)
        if self.tie == "abstain" and winner.mask is None:  # of no bytes, where d is 0
            return PackedSigns(winner.words, d, winner.words)
        return winner

    def _device_backend(self) -> core.Backend | None:
        """Where messages stay tensors: on the transport's device, or with "any" where they are; None: nowhere."""
        if not hasattr(type(self.transport), "device"):  # of its own, and not of a transport that it wraps
            return None
        device = self.transport.device
        if device == "any":
            return self._like if self._like.name == "cuda" else None
        if device is None or (device.type == "cuda" and core.cuda_unavailable()):
            return None
        return core.backend_on(device)

    def _raise_refusal(self, result: Any) -> None:
        refused = decode_refusal(result, step=self.step, num_workers=self.code.num_workers)
        if refused is not None:
            self._stats.refused += 1
            self._stats.note_step(self.step, refused.missing)
            raise refused

    def _check_resolve(self, d: int | None) -> int:
        missing = sorted(set(self.partitions) - self._cast)
        if missing:
            raise ValueError(f"resolve: partitions {missing} are not cast yet in step {self.step}")
        if d is not None and self._d is not None and d != self._d:
            raise ValueError(f"resolve: d must be {self._d} as in the casts, got {d}")
        d = self._d if d is None else int(d)
        if d is None:
            raise ValueError("resolve: d must be given where this process casts nothing")
        if d < 0:
            raise ValueError(f"resolve: d must be at least 0, got {d}")
        return d

    def _messages(self, d: int) -> dict[int, PackedSigns]:
        """What the workers of this process send, the Byzantine ones in their own way."""
        messages = dict(self._ballots.messages(d))
        for worker in messages.keys() & self.byzantine.keys():
            messages[worker] = self.byzantine[worker](messages[worker], worker=worker, step=self.step)
        return messages

    def _encode(self, votes: PackedSigns, sender: int) -> np.ndarray:
        """The frame, in memory that is used again in the next step."""
        size = frame.frame_bytes(votes.d, 1 if votes.mask is None else 2)
        memory = self._frames.get(sender)
        if memory is None or memory.size != size:
            memory = self._frames[sender] = np.empty(size, dtype=np.uint8)
        return frame.encode(votes, step=self.step, sender=sender, out=memory)

    def _admit(
        self, messages: Sequence[Any], decode: Callable[[Any, int], PackedSigns]
    ) -> tuple[list[PackedSigns], np.ndarray | None]:
        """The votes of the messages that are whole; and the refusal, where they are no quorum."""
        votes, missing = [], {}
        for worker, message in enumerate(messages):
            try:
                if message is None:
                    raise frame.FrameError("no message came in time, or one that was too long")
                votes.append(decode(message, worker))
            except frame.FrameError as error:
                missing[worker] = str(error)
        if missing:
            self._stats.note_missing(self.step, missing)
        if self.quorum is None or len(votes) >= self.quorum:
            return votes, None
        return votes, encode_refusal(QuorumError(self.step, self.quorum, self.code.num_workers, missing))

    def _elect(self, votes: list[PackedSigns], d: int, first: int = 0) -> PackedSigns:
        """The majority of messages, which may begin at a word of the coordinates."""
        if first and self.tie == "random":  # the words that are drawn for these coordinates, not those from word 0 on
            draws = random_signs(64 * first + d, seed=self.seed, step=self.step, purpose=core.PURPOSE_TIE)
            weights = [2] * len(votes) + [1]
            return majority([*votes, PackedSigns(draws.words[first:], d)], weights=weights)
        if not votes:  # a tie everywhere
            return Tally(d, 1).majority(self.tie, seed=self.seed, step=self.step)
        return majority(votes, self.tie, seed=self.seed, step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: the step, which random policies draw from, and the rules it goes with."""
        return {"step": self.step, **{name: getattr(self, name) for name in _RULES}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on at the step of a state_dict; the code, and with it the number of workers, may be another.

        Raises ValueError where a rule is another than in the checkpoint, and RuntimeError in the middle of a step.
        """
        if self._cast:
            raise RuntimeError(f"load_state_dict: resolve step {self.step} first, partitions are cast")
        for name in _RULES:
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"load_state_dict: {name} must be {state[name]!r} as in the checkpoint, got {getattr(self, name)!r}"
                )
        self.step = int(state["step"])

    def close(self) -> None:
        """Closes the transport."""
        self.transport.close()

    def __enter__(self) -> Election:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Count:
    """What a transport calls where the messages of one step are counted."""

    split = staticmethod(frame.split)

    def __init__(self, count: Callable[..., Any], device: Any = None) -> None:
        self._count = count
        self.device = device

    def __call__(self, received: Sequence[Any], part: tuple[int, int] = (0, 1)) -> Any:
        return self._count(received, part)

    @staticmethod
    def join(results: Sequence[Any]) -> Any:
        """Return the result of which these are the parts, or the refusal that one of them is."""
        for result in results:
            try:
                frame.decode(result)
            except frame.FrameError:
                return result
        return frame.join(results)
