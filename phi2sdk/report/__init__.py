"""What a run says: one :class:`~phi2sdk.report.schema.Report`, written by the terminal, Markdown, the page and notebooks.

``build`` makes it from the folder of a run; ``terminal``, ``markdown`` and ``files`` show it.
What a model wrote, and what a provider answered, is untrusted text wherever it is shown.
"""
