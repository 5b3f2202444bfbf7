"""Log-probabilities of the tokens of prompts and answers, as the routes show them.

A local model ranks the tokens of prompt and answer in one pass, so that they are comparable.
Another target tells what its route has: the tokens of a prompt, or those of an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from phi2sdk.completion import Chunk
from phi2sdk.logprobs import RankedToken
from phi2sdk.prompts import END_OF_TEXT
from phi2sdk.sampling import Sampling
from phi2sdk.serve.models import Model
from phi2sdk.serve.refusal import Refusal
from phi2sdk.transport.openai_wire import PART_OF_CHARACTER, WireToken

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["Generated", "Released", "check", "is_exact", "of_generated", "of_prompt", "shown"]

_LEAST = -9999.0
"""Value for minus infinity, which JSON does not have."""


class Generated(NamedTuple):
    """A generated token: its id, the text that it adds, and its log-probability, if known."""

    id: int | None
    text: str
    logprob: float | None


class Released:
    """Releases each generated token when the first character of its text is visible.

    Text that may become a stop is withheld, and the tokens of a stop are not shown.
    """

    def __init__(self) -> None:
        self._waiting: deque[Generated] = deque()
        self._begin = 0  # the position of the first waiting token in the text
        self._visible = 0

    def feed(self, chunk: Chunk) -> list[Generated]:
        """Add a chunk; return the tokens that are visible now."""
        if chunk.raw or chunk.token_ids:
            id = chunk.token_ids[0] if len(chunk.token_ids) == 1 else None
            logprob = chunk.logprobs[0] if len(chunk.logprobs) == 1 else None
            self._waiting.append(Generated(id, chunk.raw, logprob))
        self._visible += len(chunk.text)
        found = []
        while self._waiting and self._begin < self._visible:
            found.append(self._waiting.popleft())
            self._begin += len(found[-1].text)
        return found

    def rest(self) -> list[Generated]:
        """Return the tokens without text at the end, such as end-of-text."""
        found = []
        while self._waiting and not self._waiting[0].text:
            found.append(self._waiting.popleft())
        return found


def check(model: Model, sampling: Sampling | None, top: int, *, echo: bool, stream: bool) -> None:
    """Refuse log-probabilities that the model cannot tell.

    Args:
        model: The model.
        sampling: The sampling parameters; ``None`` if nothing is generated.
        top: Number of most likely tokens at each position.
        echo: Whether those of the prompt are asked for.
        stream: Whether the response is a stream.

    Raises:
        Refusal: The model cannot tell them.
    """
    exact = top == 0 or (top == 1 and (sampling is None or is_exact(sampling)))
    if model.only is None:
        raise _refused("a route of several targets returns no log-probabilities. Name one target")
    if model.tokens is not None:
        if stream and not exact:
            raise _refused(
                "a stream has the log-probabilities of the tokens, and at temperature 0 that of "
                "the most likely token (1). Ask for more without stream"
            )
        return
    capabilities = model.only.backend.capabilities
    if echo and not (capabilities.prompt_logprobs and top <= 1):
        raise _refused(f"{model.name} does not return these log-probabilities of a prompt")
    one = sampling is None or (echo and sampling.max_tokens == 1)  # its value may be null
    if not one and not (capabilities.logprobs and exact):
        raise _refused(f"{model.name} does not return these log-probabilities of an answer")


def is_exact(sampling: Sampling) -> bool:
    """Return whether each generated token is the most likely one of the model."""
    return sampling.greedy and sampling.is_neutral("repetition_penalty")


async def of_prompt(model: Model, text: str, ids: Sequence[int], top: int) -> list[WireToken]:
    """Return the tokens of a prompt, given as a text and for a local model as tokens.

    Raises:
        Phi2Error: The target failed.
    """
    if model.tokens is not None:
        local = await model.tokens.load()
        return list(shown(local, await model.tokens.rank(ids, max(top, 1)), top))
    told = await model.client.backend.prompt_logprobs(text)
    return [
        WireToken(token.text, token.logprob, (token.best,) if top and token.best else ())
        for token in told
    ]


def shown(local: LocalModel, ranked: Sequence[RankedToken], top: int) -> Iterator[WireToken]:
    """Yield the tokens of a local model as responses show them."""
    reader = local.detokenizer()
    for token in ranked:
        best = [(_name(local, id), max(value, _LEAST)) for id, value in token.top[:top]]
        size = len(reader.feed(token.id))
        yield WireToken(_name(local, token.id), _finite(token.logprob), best, size)


def of_generated(
    tokens: Sequence[Generated], sampling: Sampling, top: int, local: LocalModel | None
) -> list[WireToken]:
    """Return generated tokens with the log-probabilities that came with them."""
    found = []
    for token in tokens:
        text = _name(local, token.id) if local and token.id is not None else token.text
        logprob = _finite(token.logprob)
        best = [(text, logprob)] if top and logprob is not None and is_exact(sampling) else []
        found.append(WireToken(text, logprob, best, len(token.text)))
    return found


def _name(local: LocalModel, id: int) -> str:
    """Return a text that only this token has."""
    piece = local.piece(id)
    if not piece:
        return END_OF_TEXT if id in local.eos_ids else f"token_id:{id}"
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return PART_OF_CHARACTER + "".join(f"\\x{byte:02x}" for byte in piece)


def _finite(value: float | None) -> float | None:
    return None if value is None else max(value, _LEAST)


def _refused(message: str) -> Refusal:
    return Refusal(400, message, code="unsupported_parameter", param="logprobs")
