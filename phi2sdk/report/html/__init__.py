"""``report.html``: one file that opens anywhere, needs no network, and decides something.

``page`` puts it together: Jinja templates for all that is text, and one block of JSON for what
scripts draw (``series``) and lay side by side (``prompts``). Everything that others wrote passes
:func:`phi2sdk.text.for_terminal` on its way in, and the page's own policy lets no script run but
its own.
"""
