"""The sampled arm of a comparison: answers at temperature 1, which say who wrote them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from phi2sdk.completion import Request
from phi2sdk.errors import InvalidRequest
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.records import Key
from phi2sdk.measure.schedule import Lane, sampled, seed_of
from phi2sdk.measure.workload import Workload
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling

__all__ = ["SampledArm"]


class _Settings(Protocol):
    """What of a comparison's settings matters here."""

    @property
    def identity(self) -> int: ...
    @property
    def identity_concurrency(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def timeout(self) -> float: ...


@dataclass(frozen=True, slots=True)
class SampledArm:
    """What is asked, of whom, and how often.

    Attributes:
        settings: Of the comparison.
        workload: What is asked.
        own: It is the sampled arm's own, not that of the whole comparison.
        prompts: Its prompts, without stops: an answer ends with end-of-text or ``max_tokens``.
            None where nothing is sampled.
        seeded: By target, whether its route takes a seed.
    """

    settings: _Settings
    workload: Workload
    own: bool
    prompts: Mapping[str, Prompt]
    seeded: Mapping[str, bool]

    @classmethod
    def of(
        cls,
        settings: _Settings,
        candidates: Mapping[str, Candidate],
        workload: Workload,
        identity: Workload | None,
    ) -> SampledArm:
        """The sampled arm of a comparison; without any prompt where it has none.

        Raises:
            InvalidRequest: A text cannot become a prompt.
        """
        asked = identity or workload
        # As raw, since answers of the code format end at a top-level line without any stop.
        found = asked.prompts() if settings.identity else {}
        prompts = {id: replace(p, stop=(), format="raw") for id, p in found.items()}
        arm = cls(settings, asked, identity is not None, prompts, {})
        first = next(iter(prompts), None)
        if first is None:
            return arm
        return replace(
            arm, seeded={name: arm._takes_seed(c, first) for name, c in candidates.items()}
        )

    def request(self, key: Key) -> Request:
        """The request of a key."""
        seed = seed_of(self.settings.seed, key) if self.seeded.get(key.target, True) else None
        sampling = Sampling(max_tokens=self.settings.max_tokens, temperature=1.0, seed=seed)
        return Request(self.prompts[key.prompt], sampling, timeout=self.settings.timeout)

    def lanes(self, done: Container[Key]) -> tuple[Lane, ...]:
        """What is left to send."""
        settings = self.settings
        return sampled(
            list(self.seeded),
            list(self.prompts),
            settings.identity,
            width=settings.identity_concurrency,
            seed=settings.seed,
            done=done,
        )

    def configuration(self) -> dict[str, Any]:
        """Its part of what makes two runs the same; nothing where there is no sampled arm."""
        if not self.settings.identity:
            return {}
        texts = {id: prompt.text for id, prompt in self.prompts.items()} if self.own else None
        summarize = self.workload.task == "summarize"
        return {
            "identity": {
                "calls": self.settings.identity,
                "prompts": texts,
                "format": "instruct" if summarize else self.workload.format,
            }
        }

    def _takes_seed(self, candidate: Candidate, prompt: str) -> bool:
        request = self.request(Key("sampled", candidate.name, prompt, 0))
        try:
            candidate.client.backend.explain(request)
        except InvalidRequest as error:
            return "seed" not in error.message
        return True
