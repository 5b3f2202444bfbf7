"""From a row's tokens to the steps of its answer, up to the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phi2sdk.backends.engine.step import Step
from phi2sdk.errors import ProviderFault

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel
    from phi2sdk.backends.engine.slots import Token

__all__ = ["Answer"]


class Answer:
    """One answer in the making.

    Attributes:
        count: Tokens so far.
        ended: There will be no more: the end-of-text token came, or ``max_tokens`` are there.
        overflowed: The model's numbers overflowed; the slot must be scrubbed.
    """

    def __init__(self, model: LocalModel, max_tokens: int) -> None:
        self._eos_ids = model.eos_ids
        self._reader = model.detokenizer()
        self._max_tokens = max_tokens
        self._dtype = model.dtype
        self.count = 0
        self.ended = False
        self.overflowed = False

    def take(self, token: Token) -> Step:
        """The next token.

        Raises:
            ProviderFault: Its log-probability is not a number.
        """
        if math.isnan(token.logprob):
            self.ended = self.overflowed = True
            raise ProviderFault(
                f"the model's numbers overflowed in {self._dtype}: load it as float32"
            )
        self.count += 1
        special = token.id in self._eos_ids
        self.ended = special or self.count == self._max_tokens
        text = "" if special else self._reader.feed(token.id)
        if self.ended:
            text += self._reader.flush()
        return Step(token.id, text, token.logprob, special)
