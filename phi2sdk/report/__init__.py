"""The report of a run: one :class:`~phi2sdk.report.schema.Report`, and its writers.

``build`` makes it from the folder of a run; ``terminal``, ``markdown`` and ``files`` show it.
What a model wrote, and what a provider answered, is untrusted text wherever it is shown.
"""
