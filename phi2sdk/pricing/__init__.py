"""Prices of requests: cost models and the price book."""

from phi2sdk.pricing.models import Hourly, Owned, PerRequest, PerToken
from phi2sdk.pricing.price import Bill, Price, PriceTable, cost_of, resolve

__all__ = [
    "Bill",
    "Hourly",
    "Owned",
    "PerRequest",
    "PerToken",
    "Price",
    "PriceTable",
    "cost_of",
    "resolve",
]
