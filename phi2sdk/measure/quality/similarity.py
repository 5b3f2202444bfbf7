"""How close an answer comes to a reference: ROUGE-L and chrF.

Closeness of content only, never evidence of identity: two models can say the same in other words,
and the same model something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from rapidfuzz.distance import LCSseq

__all__ = ["chrf", "rouge_l", "words"]

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, case aside; of Chinese, Japanese and Korean the characters."""
    return tuple(_WORD.findall(text.casefold()))


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words; both empty 1.

    >>> rouge_l("the cat sat", "the black cat sat down")
    0.75
    """
    a, b = words(answer), words(reference)
    if not a or not b:
        return float(a == b)
    return 2.0 * LCSseq.similarity(a, b) / (len(a) + len(b))


@lru_cache(maxsize=16384)
def chrf(answer: str, reference: str) -> float:
    """chrF2 (Popovic 2015) as sacrebleu computes it, from 0 to 1; both empty 1.

    Raises:
        ImportError: sacrebleu is not installed (extra ``quality``).
    """
    if not answer.strip() or not reference.strip():
        return float(answer.strip() == reference.strip())
    return float(_sentence_chrf()(answer, [reference]).score) / 100


@cache
def _sentence_chrf() -> Callable[[str, list[str]], Any]:
    from sacrebleu.metrics.chrf import CHRF

    score: Callable[[str, list[str]], Any] = CHRF().sentence_score
    return score
