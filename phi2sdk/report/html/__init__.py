"""``report.html``: the report as one file that needs no network.

``page`` renders Jinja templates for the text and adds one block of JSON, from which the scripts
draw charts (``data``) and show prompts side by side (``prompts``). Text from outside passes
:func:`phi2sdk.text.for_terminal`, and the Content Security Policy of the page allows only the
scripts of the page itself.
"""
