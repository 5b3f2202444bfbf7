"""Many requests over few slots: is every answer the one that its request has alone?

``bench/slots.py`` asks thousands, a test some hundreds.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from phi2sdk import AsyncPhi2Client, Completion, Sampling, prompts
from phi2sdk.demo.targets import demo_workload
from phi2sdk.prompts import Prompt

__all__ = ["Outcome", "distinct", "run"]

Asked = tuple[Prompt, Sampling]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of the requests.

    Attributes:
        requests: How many were answered.
        tokens: Number of generated tokens.
        different: Those that were not answered token by token as alone, by their numbers.
    """

    requests: int
    tokens: int
    different: tuple[int, ...]


def distinct(count: int, seed: int) -> list[Asked]:
    """Return different requests: greedy and sampled, short and long, with and without stops."""
    dice = random.Random(seed)
    paragraphs = [item.text for item in demo_workload().items]
    asked: list[Asked] = []
    for number in range(count):
        words = dice.choice(paragraphs).split()
        text = " ".join(words[: dice.randint(3, len(words))])
        sampled = number % 2 == 1
        sampling = Sampling(
            max_tokens=dice.randint(1, 48),
            temperature=0.9 if sampled else 0.0,
            top_k=dice.choice([None, 5, 50]) if sampled else None,
            seed=number if sampled else None,
            stop=dice.choice([(), (".",), (" the",)]),
        )
        asked.append((prompts.summarize(text), sampling))
    return asked


async def run(
    requests: int, *, kinds: int = 200, slots: int = 16, concurrency: int = 64, seed: int = 8
) -> Outcome:
    """Ask each kind alone, then ``requests`` drawn from them over ``slots``."""
    asked = distinct(kinds, seed)
    async with AsyncPhi2Client("local", model="demo", dtype="float32", slots=1) as phi:
        alone = [said(await phi.generate(prompt, sampling)) for prompt, sampling in asked]
    dice = random.Random(seed + 1)
    drawn = [dice.randrange(kinds) for _ in range(requests)]
    numbers, answers = iter(range(requests)), dict[int, Completion]()

    async def worker(phi: AsyncPhi2Client) -> None:
        for number in numbers:
            prompt, sampling = asked[drawn[number]]
            if number % 10 == 9:  # leaves its slot early, while others continue
                async with phi.stream(prompt, sampling) as stream:
                    async for _ in stream:
                        break
            answers[number] = await phi.generate(prompt, sampling)

    async with AsyncPhi2Client("local", model="demo", dtype="float32", slots=slots) as phi:
        await asyncio.gather(*(worker(phi) for _ in range(concurrency)))
    different = [n for n, answer in answers.items() if said(answer) != alone[drawn[n]]]
    tokens = sum(len(answer.token_ids) for answer in answers.values())
    return Outcome(len(answers), tokens, tuple(sorted(different)))


def said(answer: Completion) -> tuple[tuple[int, ...], str, str | None]:
    """All that must be the same."""
    return answer.token_ids, answer.text, answer.finish_reason
