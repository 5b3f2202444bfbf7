"""``--logprobs``: endpoints that tell how likely they find a text are asked, after everything else.

Every request is paid for like any other, so each is written down before it leaves, with the most
that it can cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from phi2sdk.budget import charge, refused, worst_case
from phi2sdk.completion import Count, Request, Usage
from phi2sdk.errors import ContextLengthExceeded, Phi2Error
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.identity.answers import usable
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.told import TOLD, Told, ToldFile
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling

__all__ = ["ask_logprobs", "chosen"]

Texts = Sequence[tuple[str, str]]


def chosen(done: Mapping[Key, Record], target: str, reference: str | None, count: int) -> Texts:
    """``(prompt id, answer)`` of the first sampled answers of the reference, else of the target.

    The same texts for all targets, where the reference answered.
    """
    for author in (reference, target):
        keys = sorted(key for key in done if key.arm == "sampled" and key.target == author)
        found = usable([done[key] for key in keys])
        pairs = zip(found.prompts, found.texts, strict=True)
        if whole := [(id, text) for id, text in pairs if _whole(text)]:
            return whole[:count]
    return ()


def _whole(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which no tokenizer reads."""
    return text == text.encode("utf-8", "replace").decode()


async def ask_logprobs(
    folder: Path,
    candidates: Mapping[str, Candidate],
    prompts: Mapping[str, Prompt],
    texts: Mapping[str, Texts],
    *,
    timeout: float,
) -> None:
    """Ask each target that tells for its texts, one after the other; targets side by side.

    Nothing that was asked before is asked again. A text that fails is counted; an error that will
    not go away ends the asking of that target.

    Args:
        folder: Of the run.
        candidates: Who is asked, as far as they tell.
        prompts: By id.
        texts: ``(prompt id, answer)`` by target.
        timeout: Seconds for a text.
    """
    telling = [c for c in candidates.values() if c.client.backend.capabilities.prompt_logprobs]
    if not telling:
        return
    with ToldFile(folder / TOLD) as file:
        before = {(one.target, one.number) for one in file.before}
        await asyncio.gather(
            *(
                _ask(
                    file,
                    one,
                    [
                        (number, id, prompts[id].text, text)
                        for number, (id, text) in enumerate(texts[one.name])
                        if (one.name, number) not in before
                    ],
                    timeout,
                )
                for one in telling
            )
        )


async def _ask(
    file: ToldFile,
    candidate: Candidate,
    texts: Sequence[tuple[int, str, str, str]],
    timeout: float,
) -> None:
    for number, id, prompt, text in texts:
        # As if it were to answer with one token: TGI does, and none is cheaper.
        asked = Prompt(prompt + text, allow_control_tokens=True)  # checked when it was first sent
        request = Request(asked, Sampling(max_tokens=1), timeout=timeout)
        price = candidate.price
        most = None if price is None else worst_case(price, request)
        one = Told(candidate.name, number, id, text, most)
        file.asked(one)
        begun = perf_counter()
        try:
            tokens = await candidate.client.backend.prompt_logprobs(
                request.prompt.text, timeout=timeout
            )
        except Phi2Error as error:
            failure: Phi2Error | None = error
            one = replace(one, error=type(error).__name__)
        else:
            failure = None
            one = replace(one, tokens=tokens, error=None)
        if price is not None:
            usage = Usage() if failure else Usage(Count(len(one.tokens)), Count(1))
            free = failure is not None and refused(type(failure).__name__)
            seconds = perf_counter() - begun
            one = replace(one, usd=charge(price, request, usage, seconds=seconds, free=free))
        file.told(one)
        if failure and not (failure.retryable or isinstance(failure, ContextLengthExceeded)):
            return
