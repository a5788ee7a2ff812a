"""The protocol: cast -> local majority -> exchange -> majority.

Each worker votes over the partitions that it holds and sends one message; whoever counts takes the majority
of the messages. (Election Coding, Section 2; the attack model is Section 2's too: Byzantine workers send
any message.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode import _backend, frame
from electioncode.signs import PackedSigns, _full_mask, new_votes, outputs, pack, random_signs, words_for
from electioncode.voting import Tally, local_majorities, majority

if TYPE_CHECKING:
    from electioncode.codes import AllocationCode
    from electioncode.transport import Transport

Attack = Callable[..., PackedSigns]  # attack(message, worker=, step=)


@dataclass
class ElectionStats:
    """What happened so far, as this process saw it.

    Attributes:
        steps: votes resolved.
        abstentions: worker -> messages that were missing or malformed. Counted where votes are counted, so
            empty at a worker of topology "server".
        reasons: worker -> why, the last time.
        bytes_sent, bytes_received: payload of this process; with all workers in one process, of all of them.
    """

    steps: int = 0
    abstentions: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0


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
        byzantine: worker -> attack, to try out what those workers can do: an attack takes the honest message
            ``(d,)`` and the keywords worker and step, and returns what to send instead.

    All processes give the same arguments. In every step, each process casts the partitions that it holds and
    resolves::

        for partition in election.partitions:
            election.cast(partition, gradient_of(partition))
        winner = election.resolve()

    Equals, with m the ``(k, d)`` signs, G the allocation and ties aside: ``np.sign(np.sign(G @ m).sum(axis=0))``.

    A message that is missing, late or malformed (of another length, version, d, step, sender or checksum)
    is that worker's abstention, noted in `stats`, and never an error.

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
        byzantine: Mapping[int, Attack] | None = None,
    ) -> None:
        if transport.num_workers != code.num_workers:
            raise ValueError(
                f"Election: the transport must have as many workers as the code, {code.num_workers}, "
                f"got {transport.num_workers}"
            )
        _backend.policy("Election", "tie", tie, _backend.TIE)
        _backend.policy("Election", "zero", zero, _backend.ZERO)
        _backend.policy("Election", "nan", nan, _backend.NAN)
        _backend.key("Election", seed=seed)
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
        self.byzantine = dict(byzantine or {})
        held = {p for worker in transport.workers for p in code.partitions(worker)}
        self.partitions: tuple[int, ...] = tuple(sorted(int(p) for p in held))
        self.step = 0
        self._stats = ElectionStats()
        self._ballots: _Tallied | _Stored
        self._ballots = _Tallied(self) if len(transport.workers) <= 1 else _Stored(self)
        self._cast: set[int] = set()
        self._d: int | None = None
        self._like: _backend.Backend = _backend.numpy_backend()
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
        backend = x.backend if isinstance(x, PackedSigns) else _backend.backend_of(x, "cast")
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
        again) or d is missing or wrong. Whatever the transport raises (a silent server, say) ends the step:
        it is lost to this process, and the next cast belongs to the next step.
        """
        d = self._check_resolve(d)
        messages = {worker: self._encode(vote, worker) for worker, vote in self._messages(d).items()}
        try:
            result = self.transport.exchange(
                messages, frame.frame_bytes(d, 2), lambda m, part=(0, 1): self._count(m, d, *part)
            )
            winner = frame.decode(result, d=d, step=self.step, sender=frame.SERVER)
            kept = new_votes(self._like, (), d, winner.mask is not None, None, "resolve")
            for target, source in zip(outputs(kept, "resolve"), winner.numpy(), strict=True):
                if target is not None:
                    target[:] = source
            self._stats.steps += 1
            return kept
        finally:
            self.step += 1
            self._cast.clear()
            self._d = None
            self._ballots.reset()

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

    def _count(self, messages: Sequence[Any], d: int, index: int = 0, parts: int = 1) -> np.ndarray:
        """The decoder: the majority of the messages that are whole, or of one of equal parts of all."""
        first, d = frame.part(d, index, parts)
        votes = []
        for worker, message in enumerate(messages):
            try:
                if message is None:
                    raise frame.FrameError("no message came in time, or one that was too long")
                votes.append(frame.decode(message, d=d, step=self.step, sender=worker))
            except frame.FrameError as error:
                self._stats.abstentions[worker] = self._stats.abstentions.get(worker, 0) + 1
                self._stats.reasons[worker] = str(error)
        if first and self.tie == "random":  # the words that are drawn for these coordinates, not those from word 0 on
            draws = random_signs(64 * first + d, seed=self.seed, step=self.step, purpose=_backend.PURPOSE_TIE)
            weights = [2] * len(votes) + [1]
            winner = majority([*votes, PackedSigns(draws.words[first:], d)], weights=weights)
        elif not votes:  # a tie everywhere
            winner = Tally(d, 1).majority(self.tie, seed=self.seed, step=self.step)
        else:
            winner = majority(votes, self.tie, seed=self.seed, step=self.step)
        return self._encode(winner, frame.SERVER)

    def close(self) -> None:
        """Closes the transport."""
        self.transport.close()

    def __enter__(self) -> Election:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Tallied:
    """The casts of one worker (or none): a tally, and no vote."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._workers = election.transport.workers
        self._max_votes = max(1, len(election.partitions))
        self._tally: Tally | None = None

    def _of(self, d: int) -> Tally:
        if self._tally is None or self._tally.d != d:
            self._tally = Tally(d, self._max_votes)
        return self._tally

    def add(self, partition: int, x: Any, d: int) -> None:
        e = self._election
        self._of(d).add(x, zero=e.zero, nan=e.nan, seed=e.seed, step=e.step, stream=partition)

    def messages(self, d: int) -> list[tuple[int, PackedSigns]]:
        e = self._election
        if not e.partitions:  # an idle worker abstains
            nothing = np.zeros(words_for(d), dtype=np.uint64)
            return [(w, PackedSigns(nothing, d, nothing)) for w in self._workers]
        return [
            (w, self._of(d).majority(e.tie, seed=e.seed, step=e.step, stream=w + 1)) for w in self._workers
        ]

    def reset(self) -> None:
        if self._tally is not None:
            self._tally.reset()


class _Stored:
    """The casts of several workers: one packed row a partition, since workers share partitions."""

    def __init__(self, election: Election) -> None:
        self._election = election
        if election.transport.workers != tuple(range(election.code.num_workers)):
            raise ValueError(
                "Election: a process must hold one worker, none (a server) or all, "
                f"got workers {election.transport.workers} of {election.code.num_workers}"
            )
        self._words = self._masks = np.empty((election.code.num_partitions, 0), dtype=np.uint64)
        self._masked: set[int] = set()

    def add(self, partition: int, x: Any, d: int) -> None:
        e = self._election
        if not isinstance(x, PackedSigns):
            x = pack(x, e.zero, e.nan, seed=e.seed, step=e.step, stream=partition)
        self._fit(d)
        self._words[partition], mask = x.numpy()
        if mask is not None:
            self._masks[partition] = mask
            self._masked.add(partition)
        else:
            self._masked.discard(partition)

    def _fit(self, d: int) -> None:
        shape = (self._election.code.num_partitions, words_for(d))
        if self._words.shape != shape:
            self._words, self._masks = np.empty(shape, dtype=np.uint64), np.empty(shape, dtype=np.uint64)

    def votes(self, d: int) -> PackedSigns:
        """What was cast: (k, d)."""
        self._fit(d)
        masks = None
        if self._masked:
            masks = self._masks
            full = _full_mask(d)
            for partition in set(self._election.partitions) - self._masked:
                masks[partition] = full
        return PackedSigns(self._words, d, masks)

    def messages(self, d: int) -> list[tuple[int, PackedSigns]]:
        e = self._election
        rows = local_majorities(self.votes(d), e.code, e.tie, seed=e.seed, step=e.step)
        masked = e.tie == "abstain"
        idle = {i for i in range(e.code.num_workers) if not e.code.partitions(i)}
        return [
            (i, rows[i] if masked or i in idle else PackedSigns(rows.words[i], d)) for i in range(e.code.num_workers)
        ]

    def reset(self) -> None:
        self._masked.clear()
