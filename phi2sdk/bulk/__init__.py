"""Answer millions of rows without losing a paid answer."""

from phi2sdk.bulk.run import BulkResult, BulkRun, bulk
from phi2sdk.bulk.scan import Estimate
from phi2sdk.bulk.worker import Question
from phi2sdk.measure.answers import State

__all__ = ["BulkResult", "BulkRun", "Estimate", "Question", "State", "bulk"]
