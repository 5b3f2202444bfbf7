"""The settings of a measurement."""

from __future__ import annotations

from dataclasses import dataclass, field

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.schedule import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a measurement.

    Attributes:
        load: Arrival pattern of requests.
        repetitions: Number of answers of each target to each prompt; with 2 or more, the report
            has each target's agreement with itself.
        warmup: Number of requests per target before the run, which are in no statistic.
        seed: Seed of the order, the arrival times and the sampling.
        max_tokens: Maximum number of tokens per answer.
        timeout: Seconds for a request, including retries. A request that takes longer ranks last.
        duration: Seconds to measure, repeating the prompts, instead of ``repetitions``. Requests
            in flight at the end are completed.
        unique_prefix: Whether to begin the prompt of each repetition with a unique line, to defeat
            response and prefix caches; see :mod:`phi2sdk.measure.folder`.
        reference: The target that the others are compared with (default: the first local target,
            else the first target).
        calibrate: Whether to measure the measurement error first, with a reference server.
        identity: Number of answers per target to sample at temperature 1, after all others, for
            the identity tests.
        identity_concurrency: Maximum number of sampled requests in flight per target.
        logprobs: Number of texts per target whose log-probabilities are requested, if the target
            reports them.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    load: Load = field(default_factory=Load)
    repetitions: int = 2
    warmup: int = 1
    seed: int = 0
    max_tokens: int = 128
    timeout: float = 60.0
    duration: float | None = None
    unique_prefix: bool = False
    reference: str | None = None
    calibrate: bool = True
    identity: int = 0
    identity_concurrency: int = 8
    logprobs: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("repetitions", 1),
            ("warmup", 0),
            ("max_tokens", 1),
            ("seed", 0),
            ("identity", 0),
            ("identity_concurrency", 1),
            ("logprobs", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name} {getattr(self, name)} must be at least {least}")
        if self.logprobs and not self.identity:
            raise ConfigurationError(
                "logprobs are requested for sampled answers: add --identity 100"
            )
        if not 0 < self.timeout < float("inf"):
            raise ConfigurationError(f"timeout {self.timeout:g} must be above 0")
        if self.duration is not None and not 0 < self.duration < float("inf"):
            raise ConfigurationError(f"duration {self.duration:g} must be above 0")
