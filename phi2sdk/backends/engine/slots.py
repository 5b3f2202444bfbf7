"""Continuous batching: sequences in the slots of one cache, each at its own position.

Every step is one pass through the model, which reads the weights once. It generates a token for
each sequence in decode, and processes the next piece of the prompts of sequences in prefill. The
sequences in decode always have the first n slots: when one leaves, the last of them takes its slot.

Only :meth:`Slots.read` waits for the device, so a step can be launched before the tokens of the
preceding step are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phi2sdk.backends.engine.cache import ChunkAttend, RowsAttend, SlotCache, StepAttend
from phi2sdk.backends.engine.decode import CompiledStep, EagerStep, GraphStep, OneTokenStep
from phi2sdk.backends.engine.memory import PREFILL_TOKENS
from phi2sdk.backends.engine.phi import Attend, Phi
from phi2sdk.backends.engine.sampler import Chooser, choose
from phi2sdk.backends.engine.transfer import Arriving, to_device
from phi2sdk.sampling import Sampling

__all__ = ["Flight", "Row", "Slots", "SlotToken"]


@dataclass(slots=True, eq=False)
class Row:
    """One sequence.

    Attributes:
        prompt: The tokens of the prompt.
        chooser: The sampling state.
        read: Number of prompt tokens in the cache.
        length: Number of tokens in the cache, including the answer.
        live: Whether the sequence has a slot.
    """

    prompt: Sequence[int]
    chooser: Chooser
    read: int = 0
    length: int = 0
    live: bool = True


@dataclass(frozen=True, slots=True)
class SlotToken:
    """The next token of a row and its log-probability, which is NaN if the model overflowed."""

    row: Row
    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Flight:
    """A launched step: its rows, and their tokens and log-probabilities."""

    rows: Sequence[Row]
    tokens: Arriving  # [n] int64
    logprobs: Arriving  # [n] float32


class Slots:
    """A model with a cache of S slots.

    Args:
        phi: The model.
        slots: S, the maximum number of sequences.
        length: Number of tokens per slot (default: the context of the model).
        prefill_among: Maximum number of prompt tokens in a step while other sequences are in
            decode. It bounds the time by which a joining prompt delays them.
        ahead: Whether to launch each step before the tokens of the preceding step are read, so
            that a GPU never waits for the host. A row that ends is then computed once more.
        step: Implementation of a step without prefill.
    """

    def __init__(
        self,
        phi: Phi,
        slots: int,
        *,
        length: int | None = None,
        prefill_among: int = 64,
        ahead: bool = False,
        step: Callable[[Phi, SlotCache], OneTokenStep] = EagerStep,
    ) -> None:
        shape = phi.config.shape
        self.phi = phi
        self.prefill_among = prefill_among
        self.cache = SlotCache(shape, slots, length or shape.context_length, phi.dtype, phi.device)
        self._one_token = step(phi, self.cache)
        self.rows: list[Row] = []  # the row at index i has slot i
        self._writing = 0  # number of rows in decode, which come first; the others are in prefill
        self._ahead = ahead
        self._flight: Flight | None = None  # launched and not yet read
        self._last = torch.zeros(slots, dtype=torch.int64, device=phi.device)  # their last tokens

    @property
    def free(self) -> int:
        """Return the number of free slots."""
        return self.cache.slots - len(self.rows)

    def join(self, prompt: Sequence[int], sampling: Sampling) -> Row:
        """Add a sequence; the next steps process the prompts in the order of joining."""
        assert self.free, "no slot is free"
        assert 0 < len(prompt) <= self.cache.length, "the prompt does not fit into a slot"
        phi = self.phi
        chooser = Chooser.start(sampling, prompt, phi.config.shape.vocab, phi.device)
        row = Row(prompt, chooser)
        self.rows.append(row)
        return row

    @torch.inference_mode()
    def leave(self, row: Row, *, scrub: bool = False) -> None:
        """Free the slot of a sequence immediately.

        Args:
            row: The sequence. A second call has no effect.
            scrub: Whether the model overflowed, so that NaN must be removed from the slot.
        """
        if not row.live:
            return
        row.live = False
        slot = self.rows.index(row)
        if scrub:
            self.cache.scrub(slot)
        if slot < self._writing:
            self._writing -= 1
            if slot != self._writing:
                self._move(self._writing, slot)
            slot = self._writing
        for behind in range(slot, len(self.rows) - 1):  # rows in prefill keep their order
            self._move(behind + 1, behind)
        self.rows.pop()

    def warm_up(self) -> None:
        """Run two short sequences, so that initialization happens before the first request."""
        assert not self.rows, "sequences are running"
        if isinstance(self._one_token, GraphStep):
            with torch.inference_mode():
                self._one_token.prepare_all()
        rows = [self.join([0, 0], Sampling()) for _ in range(min(2, self.free))]
        for _ in range(3):
            self.step()
        for row in rows:
            self.leave(row)
            self.step()

    def step(self) -> list[SlotToken]:
        """Launch a step and return its tokens, or with ``ahead`` those of the preceding step."""
        launched = self.launch() if self.rows else None
        if self._ahead:
            launched, self._flight = self._flight, launched
        return self.read(launched) if launched else []

    def launch(self) -> Flight:
        """Launch a step for the rows in decode and the rows whose prefill it completes."""
        chunks = self._chunks()
        tokens = self._writing + sum(count for _, count in chunks)
        compiled = isinstance(self._one_token, CompiledStep) and not chunks
        with torch.inference_mode(), self.phi.threads(tokens, fixed=compiled):
            return self._launch(chunks)

    def _launch(self, chunks: Sequence[tuple[Row, int]]) -> Flight:
        writing = self.rows[: self._writing]
        finished = [row for row, count in chunks if row.read + count == len(row.prompt)]
        rows = [*writing, *finished]
        if chunks:
            logits = self._mixed(writing, chunks)
        else:
            logits = self._one_token(self._last[: len(rows)], [row.length for row in rows])
        tokens, logprobs = choose(logits, [row.chooser for row in rows])
        self._last[: len(rows)] = tokens
        for row in writing:
            row.length += 1
        for row, count in chunks:
            row.read += count
            row.length += count
        self._writing = len(rows)
        return Flight(rows, Arriving.of(tokens), Arriving.of(logprobs))

    def read(self, flight: Flight) -> list[SlotToken]:
        """Wait for the tokens of a step; tokens of rows that have left are discarded."""
        tokens, logprobs = flight.tokens.tolist(), flight.logprobs.tolist()
        return [
            SlotToken(row, int(id), logprob)
            for row, id, logprob in zip(flight.rows, tokens, logprobs, strict=True)
            if row.live
        ]

    def _chunks(self) -> list[tuple[Row, int]]:
        """Return the number of prompt tokens that each row processes now, in order of joining."""
        left = self.prefill_among if self._writing else PREFILL_TOKENS
        chunks = []
        for row in self.rows[self._writing :]:
            count = min(left, len(row.prompt) - row.read)
            if not count:
                break
            chunks.append((row, count))
            left -= count
        return chunks

    def _mixed(self, writing: Sequence[Row], chunks: Sequence[tuple[Row, int]]) -> Tensor:
        """Return the logits ``[n, V]`` of a step with prefill.

        The N tokens of the pass are those of the rows in decode, then the pieces of the prompts. A
        new token follows n of them.
        """
        device = self.phi.device
        positions = [row.length for row in writing]
        parts: list[tuple[int, Attend]] = []
        if writing:
            kv = max(positions) + 1
            even = min(positions) + 1 == kv
            rows = RowsAttend(self.cache, to_device(positions, device), kv, even=even)
            parts.append((len(writing), rows))
        ids: list[int] = []
        for slot, (row, count) in enumerate(chunks, start=len(writing)):
            parts.append((count, ChunkAttend(self.cache, slot, row.read, count)))
            ids += row.prompt[row.read : row.read + count]
            positions += range(row.read, row.read + count)
        tokens = torch.cat((self._last[: len(writing)], to_device(ids, device)))
        x = self.phi.hidden(tokens, to_device(positions, device), StepAttend(parts))
        return self.phi.logits(x[to_device(self._ends(len(writing), chunks), device)])

    @staticmethod
    def _ends(n: int, chunks: Sequence[tuple[Row, int]]) -> list[int]:
        """Return the indices of those of the N tokens that a new token follows."""
        ends, at = list(range(n)), n
        for row, count in chunks:
            at += count
            if row.read + count == len(row.prompt):
                ends.append(at - 1)
        return ends

    def _move(self, source: int, target: int) -> None:
        row = self.rows[source]
        self.rows[target] = row
        if row.length:
            self.cache.move(source, target, row.length)
            self._last[target] = self._last[source]
