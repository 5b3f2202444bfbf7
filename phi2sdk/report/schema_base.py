"""What every part of ``report.json`` is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Interval", "Name", "Part"]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Part(BaseModel):
    """Frozen, and nothing in it that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Interval(Part):
    """A value and its 95 % interval; an end is null where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
