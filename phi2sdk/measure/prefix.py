"""A prefix of its own for every repetition, so that no cache has the answer, or half of it.

A response cache knows a prompt by its text, a prefix cache by how it begins; both would make a
repetition faster than the first time, and that is not the latency that is asked about. The prefix
stands before everything else, differs from its first character on, and is the same for all
targets: their answers to one repetition can still be compared.
"""

from __future__ import annotations

import hashlib
import json

from phi2sdk.measure.records import Key

__all__ = ["unique_prefix"]


def unique_prefix(nonce: str, key: Key) -> str:
    """16 hexadecimal digits and a line break.

    Args:
        nonce: Of the run, so that another run with the same configuration differs too.
        key: The request; its target does not matter.
    """
    text = json.dumps([nonce, key.arm, key.prompt, key.repetition])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest() + "\n"
