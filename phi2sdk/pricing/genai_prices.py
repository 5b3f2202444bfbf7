"""Read token prices from the package genai-prices, if it is installed.

The package has current prices of many providers; the bundled price book has few, dated and reviewed
prices. A reference to the package begins with :data:`PREFIX`, and the source of the price names the
version of the package. Its data have no date, so the date is the day on which they were read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from phi2sdk.errors import ConfigurationError

PREFIX = "genai-prices:"


def version() -> str | None:
    """Return the installed version; ``None`` if the package is not installed."""
    from importlib import metadata

    try:
        return metadata.version("genai-prices")
    except metadata.PackageNotFoundError:
        return None


def token_price(reference: str) -> dict[str, Any] | None:
    """Return the price of ``genai-prices:provider/model``; ``None`` for another reference.

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
        raise ConfigurationError(
            f"genai-prices {installed} has no {provider}/{model}. Set input and output in phi2.toml"
        ) from error
    prices = found.get_prices(now)
    table: dict[str, Any] = {"model": "per-token"}
    for name, value in (
        ("input", prices.input_mtok),
        ("output", prices.output_mtok),
        ("cached", prices.cache_read_mtok),
    ):
        if value is not None:
            # Short prompts pay the base of a tiered price.
            table[name] = float(value.base if isinstance(value, TieredPrices) else value)
    if "input" not in table or "output" not in table:
        raise ConfigurationError(
            f"genai-prices {installed} has no price per token for {provider}/{model}. "
            "Set input and output in phi2.toml"
        )
    table["source"] = f"genai-prices {installed} ({provider}/{found.id})"
    table["date"] = now.date()
    return table
