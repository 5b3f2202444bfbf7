"""Measure targets: send the requests of a workload on schedule, and record them in a folder.

``workload`` and ``schedule`` define the requests and their times. ``runner`` sends them and writes
``records`` into the ``journal`` of a run ``folder``. :mod:`phi2sdk.analysis` computes numbers from
the records, and :mod:`phi2sdk.report` prints and draws them.
"""
