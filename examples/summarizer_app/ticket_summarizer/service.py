"""Summarize support tickets. Every ticket gets a state that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from phi2sdk import Completion, Phi2Client, Phi2Error, prompts
from phi2sdk.errors import (
    BudgetExceeded,
    ConfigurationError,
    ContentFiltered,
    InvalidRequest,
    TransientError,
)

State = Literal["done", "later", "person"]

LONGEST = 6000
"""Maximum characters of a ticket, about 1,500 of the 2,048 tokens for prompt and answer."""

_PRIVATE = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "[mail]"),
    (re.compile(r"\b(?:\d[ -]?){13,16}\b"), "[card]"),
)


@dataclass(frozen=True)
class Ticket:
    """A message of a customer."""

    id: str
    text: str


@dataclass(frozen=True)
class Summary:
    """The result for a ticket: its summary and the target that wrote it, or the reason for none."""

    id: str
    state: State
    text: str = ""
    by: str = ""
    why: str = ""


class Summarizer:
    """A context manager that summarizes tickets with Phi-2.

    Args:
        targets: Names of targets, in order; each is used if the one before it fails.
        config: The file that describes the targets.
        budget_usd: Maximum cost of all summaries together, in US dollars.

    Raises:
        ConfigurationError: A target is unknown, or its key is missing.
    """

    def __init__(
        self,
        targets: Sequence[str] = ("azure_main", "spare"),
        *,
        config: str | Path = "phi2.toml",
        budget_usd: float = 1.0,
    ) -> None:
        self._phi = Phi2Client(list(targets), config=config, timeout=20, budget=budget_usd)

    @property
    def spent_usd(self) -> float:
        """Return the cost of the summaries so far, in US dollars."""
        assert self._phi.spending is not None
        return self._phi.spending.spent

    def summarize(self, tickets: Iterable[Ticket]) -> Iterator[Summary]:
        """Yield a summary for each ticket, in order of completion.

        Raises:
            ConfigurationError: No target can be used, for instance because its endpoint is deleted.
        """
        asked = []
        for ticket in tickets:
            if len(ticket.text) > LONGEST:
                yield Summary(ticket.id, "person", why="too long for the model")
            else:
                asked.append(ticket)
        requests = [prompts.summarize(without_private(ticket.text)) for ticket in asked]
        answers = self._phi.generate_many(
            requests, concurrency=4, return_errors=True, max_tokens=60
        )
        for index, answer in answers:
            yield _summary(asked[index], answer)

    def close(self) -> None:
        """Close the connections."""
        self._phi.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def without_private(text: str) -> str:
    """Replace email addresses and card numbers, which must not leave this machine."""
    for pattern, name in _PRIVATE:
        text = pattern.sub(name, text)
    return text


def _summary(ticket: Ticket, answer: Completion | Phi2Error) -> Summary:
    match answer:
        case Completion(text="") | ContentFiltered():
            return Summary(ticket.id, "person", why="the model gave no answer")
        case Completion():
            return Summary(ticket.id, "done", answer.text, by=answer.receipt.target)
        case InvalidRequest():
            return Summary(ticket.id, "person", why=answer.message)
        case BudgetExceeded():
            return Summary(ticket.id, "later", why="the budget is used up")
        case ConfigurationError():
            raise answer
        case TransientError():
            return Summary(ticket.id, "later", why="no target could answer")
        case _:
            return Summary(ticket.id, "later", why=str(answer))
