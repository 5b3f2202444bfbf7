"""Keep the cost of a run below a hard cap.

A request is sent only if the worst case of all its calls fits into the remaining budget. Its record
then gives the cost that is charged. Open requests of a run that was killed are charged at their
worst case, because their outcome is unknown.
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


@dataclass(frozen=True, slots=True)
class Forecast:
    """The possible cost of the remaining requests.

    Attributes:
        requests: Number of requests.
        usd: Maximum in US dollars if each request takes one call.
        worst: Maximum in US dollars if each request takes the maximum number of calls.
    """

    requests: int
    usd: float
    worst: float


@dataclass(slots=True)
class RunBudget:
    """A gate that admits the requests of a run within a budget.

    Attributes:
        spending: The cap, and the amount spent.
        candidates: The targets by name, each with a known price.
        request: Creates the request of a key.
        stopped: Whether a request was refused.

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
                f"a budget requires a price, and no price is known for {', '.join(unknown)}. Set "
                "a price in phi2.toml (for a machine that is already paid for: model per-request, "
                "usd 0, with its source and date), or exclude the target with --target"
            )

    def count(self, recorded: Recorded) -> None:
        """Charge the requests of earlier sessions, replacing earlier charges.

        Open requests are charged at their worst case.
        """
        self.spending = Spending(self.spending.cap)
        for record in recorded.done.values():
            self.spending.add(self.charged(record))
        for key, times in recorded.open.items():
            self.spending.add(times * self.worst(key))
        for text in recorded.scored:
            self.spending.add(text.usd or 0.0)

    def forecast(self, keys: Iterable[Key], scored: Iterable[tuple[str, Request]] = ()) -> Forecast:
        """Return the possible cost of these requests.

        Args:
            keys: Requests for answers.
            scored: Requests for log-probabilities, each with its target; they take one call.
        """
        counted = [(self.worst(key, calls=1), self.worst(key)) for key in keys]
        counted += [(cost, cost) for cost in (self.worst_of(*one, calls=1) for one in scored)]
        return Forecast(len(counted), sum(c[0] for c in counted), sum(c[1] for c in counted))

    def admit(self, key: Key) -> Hold | None:
        """Reserve the worst case of a request; ``None`` refuses it and all later requests."""
        return self.reserve(self.worst(key))

    def reserve(self, usd: float) -> Hold | None:
        """Reserve an amount; ``None`` refuses this request and all later ones."""
        if self.stopped:
            return None
        try:
            return self.spending.hold(usd)
        except BudgetExceeded:
            self.stopped = True
            return None

    def settle(self, hold: Hold, record: Record) -> None:
        """Replace the reserved amount of a request with its cost."""
        hold.settle(self.charged(record))

    def worst(self, key: Key, calls: int | None = None) -> float:
        """Return the maximum cost of a request, over all calls that it may make."""
        backend = self.candidates[key.target].client.backend
        most = backend.most_calls if calls is None else calls
        return self.worst_of(key.target, self.request(key), calls=most)

    def worst_of(self, target: str, request: Request, *, calls: int) -> float:
        """Return the maximum cost of a request to a target, over a number of calls."""
        wraps = self.candidates[target].client.backend.capabilities.wraps
        return worst_case(self._price(target), request, calls=calls, wraps=wraps)

    def charged(self, record: Record) -> float:
        """Return the cost of a request, or its maximum where the cost is not reported."""
        price, request = self._price(record.key.target), self.request(record.key)
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

    def _price(self, target: str) -> Price:
        price = self.candidates[target].price
        assert price is not None, "refused when the budget was made"
        return price
