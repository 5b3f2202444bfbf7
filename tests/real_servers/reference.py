"""The bundled checkpoint on this machine in float32, the reference for every server."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import torch

from phi2sdk import Phi2Client
from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.sampler import shaped
from phi2sdk.backends.engine.scoring import packed_hidden
from phi2sdk.completion import Completion
from phi2sdk.demo import checkpoint_path
from phi2sdk.prompts import Prompt, raw
from phi2sdk.sampling import Sampling

__all__ = ["TIE", "Reference", "surprise"]

TIE = 1e-3
"""Two tokens whose log-probabilities differ by less than this, in nats, count as a tie."""

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""Stands for every token that is only a part of a character."""


class Reference:
    """The local model, and its exact distribution of the next token."""

    def __init__(self) -> None:
        self._client = Phi2Client("local", model="demo", dtype="float32")
        self._model = LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")

    def close(self) -> None:
        """Release the model."""
        self._client.close()

    def answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The local model's answer."""
        return self._client.generate(prompt, sampling)

    def prompt_of(self, tokens: int) -> Prompt:
        """A prompt of so many tokens."""
        ids = self._model.encode("The glass is full of water. " * tokens)
        return raw(self._model.decode(ids[:tokens]))

    def logprobs(self, text: str) -> tuple[float, ...]:
        """The log-probability of each token of a text after those before it, without the first."""
        first, *rest = self._model.encode(text)
        return self._model.score([first], rest).logprob

    def largest_regret(self, prompt: Prompt, text: str) -> float:
        """Return the largest regret of a token of ``text``, in nats."""
        return max(self._client.score(prompt, text).regret)

    def first_token(self, prompt: Prompt, sampling: Sampling) -> dict[str, float]:
        """The probability of each first token that ``sampling`` leaves possible, by its text."""
        ids = self._model.encode(prompt.text)
        with torch.inference_mode():
            logits = self._model.phi.logits(packed_hidden(self._model.phi, [(ids, [0])]))
            shares = shaped(logits, [sampling]).softmax(-1)[0].double().tolist()
        found: Counter[str] = Counter()
        for id, share in enumerate(shares):
            if share > 0:
                found[_readable(self._model.decode([id]))] += share
        return dict(found)


def surprise(drawn: Iterable[str], expected: dict[str, float]) -> float:
    """Return how many standard deviations the log-probability of draws is from its mean.

    Args:
        drawn: First tokens.
        expected: Their probabilities; a token that is not there makes the answer infinite.
    """
    texts = [_readable(text) for text in drawn]
    if not expected.keys() >= set(texts):
        return math.inf
    mean = sum(p * math.log(p) for p in expected.values())
    variance = sum(p * (math.log(p) - mean) ** 2 for p in expected.values())
    total = sum(math.log(expected[text]) - mean for text in texts)
    return abs(total) / math.sqrt(variance * len(texts)) if variance else 0.0


def _readable(text: str) -> str:
    return UNREADABLE if not text or UNREADABLE in text else text
