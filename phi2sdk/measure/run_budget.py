"""A run under a hard cap: what it may cost, what it has cost, and when no more may begin.

A request is let through when the worst case of all its calls fits what is left; its record then
says what it is charged. A run that was killed left requests open: each counts at its worst case,
since nobody knows what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from phi2sdk.client.budget import Hold, Spending, charge, refused, worst_case
from phi2sdk.completion import Request, Usage
from phi2sdk.errors import BudgetExceeded, ConfigurationError
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import Key, Record
from phi2sdk.pricing.price import Price

__all__ = ["Forecast", "RunBudget"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What requests that are left may cost.

    Attributes:
        requests: How many there are.
        usd: US dollars at most, if each takes one call.
        worst: US dollars at most, if each takes as many calls as it may.
    """

    requests: int
    usd: float
    worst: float


@dataclass(slots=True)
class RunBudget:
    """Lets the requests of a run through, or not.

    Attributes:
        spending: The cap, and what is spent of it.
        candidates: By name; each with a known price.
        request: Makes the request of a key.
        stopped: Whether a request was turned away.

    Raises:
        ConfigurationError: A candidate has no price.
    """

    spending: Spending
    candidates: Mapping[str, Candidate]
    request: Callable[[Key], Request]
    stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if unknown := [name for name, c in self.candidates.items() if c.price is None]:
            raise ConfigurationError(
                f"a budget cannot be kept: no price is known of {', '.join(unknown)}. Give each a "
                "price in phi2.toml (of a machine that is paid for already: model per-request, "
                "usd 0, with its source and date), or leave it out with --target"
            )

    def count(self, recorded: Recorded) -> None:
        """Charge what earlier sessions of the run did, open requests at their worst case.

        It takes the place of what was counted before.
        """
        self.spending = Spending(self.spending.cap)
        for record in recorded.done.values():
            self.spending.add(self.charged(record))
        for key, times in recorded.open.items():
            self.spending.add(times * self.worst(key))

    def forecast(self, keys: Iterable[Key]) -> Forecast:
        """What these requests may cost."""
        counted = [(self.worst(key, calls=1), self.worst(key)) for key in keys]
        return Forecast(len(counted), sum(c[0] for c in counted), sum(c[1] for c in counted))

    def admit(self, key: Key) -> Hold | None:
        """Put aside what a request may cost; ``None``: it must not be sent, nor any after it."""
        if self.stopped:
            return None
        try:
            return self.spending.hold(self.worst(key))
        except BudgetExceeded:
            self.stopped = True
            return None

    def settle(self, hold: Hold, record: Record) -> None:
        """The request has come to its end."""
        hold.settle(self.charged(record))

    def worst(self, key: Key, calls: int | None = None) -> float:
        """The most that a request can cost, in all the calls that it may make."""
        backend = self.candidates[key.target].client.backend
        most = backend.most_calls if calls is None else calls
        wraps = backend.capabilities.wraps
        return worst_case(self._price(key), self.request(key), calls=most, wraps=wraps)

    def charged(self, record: Record) -> float:
        """What a request cost, or the most that it may have where nobody says."""
        price, request = self._price(record.key), self.request(record.key)
        wraps = self.candidates[record.key.target].client.backend.capabilities.wraps
        total = 0.0
        for number, attempt in enumerate(record.attempts, start=1):
            last = number == len(record.attempts)
            usage = record.usage if last and record.error is None else Usage()
            free = attempt.error is not None and refused(attempt.error)
            total += charge(
                price,
                request,
                usage,
                seconds=(attempt.t_end_ns - attempt.t_send_ns) / 1e9,
                free=free and not (last and record.raw),
                wraps=wraps,
            )
        return total

    def _price(self, key: Key) -> Price:
        price = self.candidates[key.target].price
        assert price is not None, "refused when the budget was made"
        return price
