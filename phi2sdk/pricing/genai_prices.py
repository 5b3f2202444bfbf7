"""Token prices from the package genai-prices, where it is installed.

It keeps many providers' prices up to date; ours are few, dated and reviewed. A reference to it
says so by its prefix, and the price's source names the package's version. Its data bear no date
of their own, so the date is the day on which they were read here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from phi2sdk.errors import ConfigurationError

__all__ = ["PREFIX", "token_price", "version"]

PREFIX = "genai-prices:"


def version() -> str | None:
    """The installed version; ``None`` where the package is not installed."""
    from importlib import metadata

    try:
        return metadata.version("genai-prices")
    except metadata.PackageNotFoundError:
        return None


def token_price(reference: str) -> dict[str, Any] | None:
    """The per-token table of ``genai-prices:provider/model``; ``None`` for another reference.

    Raises:
        ConfigurationError: The package is not installed, or has no such model or no such price.
    """
    if not reference.startswith(PREFIX):
        return None
    installed = version()
    if installed is None:
        raise ConfigurationError(
            f"{reference}: genai-prices is not installed: python -m pip install 'phi2sdk[prices]'"
        )
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import TieredPrices

    provider, _, model = reference.removeprefix(PREFIX).partition("/")
    now = datetime.now(UTC)
    try:
        _, found = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError as error:
        raise ConfigurationError(f"genai-prices {installed} has no {provider}/{model}") from error
    prices = found.get_prices(now)
    table: dict[str, Any] = {"model": "per-token"}
    for name, value in (
        ("input", prices.input_mtok),
        ("output", prices.output_mtok),
        ("cached", prices.cache_read_mtok),
    ):
        if value is not None:
            # A tiered price begins with its base, which is what short prompts pay.
            table[name] = float(value.base if isinstance(value, TieredPrices) else value)
    if "input" not in table or "output" not in table:
        raise ConfigurationError(
            f"genai-prices {installed} has no price per token for {provider}/{model}"
        )
    table["source"] = f"genai-prices {installed} ({provider}/{found.id})"
    table["date"] = now.date()
    return table
