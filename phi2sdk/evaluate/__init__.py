"""Measure the accuracy of targets on benchmark tasks, item by item."""
