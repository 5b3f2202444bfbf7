"""Compute statistics, agreement, cost and the decision from the records of a run."""
