"""Measuring targets: the workload, when it is sent, what came of it, and what the numbers say.

``workload`` and ``schedule`` say what is asked and when; ``runner`` asks and writes ``records``
into the ``journal`` of a run ``folder``; ``metrics``, ``agreement``, ``cost`` and ``statistics``
read them. Nothing here prints or draws: that is :mod:`phi2sdk.report`.
"""
