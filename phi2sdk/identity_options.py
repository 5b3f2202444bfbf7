"""``--identity`` and what belongs to it on the command line of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi2sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from phi2sdk.identity_check import IdentityCheck
    from phi2sdk.measure.workload import Task, Workload

__all__ = [
    "Honest",
    "Identity",
    "IdentityModel",
    "IdentityPlan",
    "IdentityPrompts",
    "Logprobs",
    "Suspect",
]

Identity = Annotated[
    int | None,
    typer.Option(help="Sampled answers a target: is it the same model? [demo: 80, else 0]"),
]
IdentityPrompts = Annotated[
    Path | None,
    typer.Option(help="What they answer, best open-ended. [the demo's own, else INPUT]"),
]
IdentityModel = Annotated[
    str | None,
    typer.Option(help="Local weights to hold them against. [the first local target's]"),
]
Honest = Annotated[
    str | None,
    typer.Option(
        help="Precisions that count as it. [float32,float16,bfloat16; demo: the first and last]",
        metavar="LIST",
    ),
]
Suspect = Annotated[
    list[str] | None,
    typer.Option(help="Weights of another model that a target may be instead; repeatable."),
]

Logprobs = Annotated[
    int,
    typer.Option(
        "--logprobs",
        help="So many of these answers are sent to a target that tells how likely it finds them.",
    ),
]


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """What the options come to.

    Attributes:
        calls: Sampled answers a target.
        concurrency: So many of a target's sampled requests at once.
        prompts: What they answer; the workload if ``None``.
        check: How they are examined.
    """

    calls: int
    concurrency: int
    prompts: Workload | None
    check: IdentityCheck

    @classmethod
    def of(
        cls,
        calls: int | None,
        prompts: Path | None,
        model: str | None,
        honest: str | None,
        suspects: list[str] | None,
        *,
        read: Callable[[Path, Task], Workload],
        demo: bool,
    ) -> IdentityPlan:
        """From the options as given; ``read`` reads the prompts.

        Raises:
            ConfigurationError: Something is asked of sampled answers, and none are.
            InvalidRequest: An entry of the prompts is wrong.
        """
        from phi2sdk import compare_demo
        from phi2sdk.identity_check import IdentityCheck
        from phi2sdk.measure.identity.weights import HONEST, parse_honest

        if calls is None:
            calls = compare_demo.IDENTITY if demo else 0
        if not calls and (prompts or model or honest or suspects):
            raise ConfigurationError("there are no sampled answers to examine: add --identity 100")
        asked = compare_demo.demo_identity_workload() if demo else None
        if prompts is not None:
            asked = read(prompts, "prompt")
        usual = compare_demo.HONEST if demo else HONEST
        check = IdentityCheck(
            model, usual if honest is None else parse_honest(honest), suspects or ()
        )
        return cls(calls, compare_demo.IDENTITY_CONCURRENCY if demo else 8, asked, check)
