"""Our MMD test or the published package's, on the same answers: worker of bench/identity.py.

    python bench/identity_mmd.py ours|package ANSWERS.json

The file has the answers of two sides, ``{prompt: [text, ...]}`` each. Every line of input, a number
of permutations, is one test; it is answered by a line of JSON with its statistic and seconds, from
texts to p-value. Imports are not timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Side = dict[str, list[str]]


def ours(a: Side, b: Side, permutations: int) -> tuple[float, float]:
    """The statistic and p of phi2sdk."""
    from phi2sdk.identity.mmd import mmd_test

    found = mmd_test(a, b, permutations=permutations)
    return found.statistic, found.p


def package(a: Side, b: Side, permutations: int) -> tuple[float, float]:
    """Those of model-equality-testing, as its page says that it is used."""
    import numpy as np
    from model_equality_testing.algorithm import run_two_sample_test
    from model_equality_testing.distribution import CompletionSample
    from model_equality_testing.utils import pad_to_length, tokenize_unicode

    number = {prompt: index for index, prompt in enumerate(sorted({*a, *b}))}
    sides = []
    for side in (a, b):
        asked = np.array([number[prompt] for prompt in side for _ in side[prompt]])
        sides.append((asked, tokenize_unicode([text for texts in side.values() for text in texts])))
    width = max(characters.shape[1] for _, characters in sides)
    samples = [
        CompletionSample(asked, pad_to_length(characters, width), m=len(number))
        for asked, characters in sides
    ]
    p, statistic = run_two_sample_test(
        *samples, pvalue_type="permutation_pvalue", stat_type="mmd_hamming", b=permutations
    )
    return float(statistic), float(p)


def main() -> None:
    """Test as often as is asked."""
    test: Callable[[Side, Side, int], tuple[float, float]] = {"ours": ours, "package": package}[
        sys.argv[1]
    ]
    a, b = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    test(a, b, 2)
    for line in sys.stdin:
        begun = time.perf_counter()
        statistic, p = test(a, b, int(line))
        seconds = time.perf_counter() - begun
        print(json.dumps({"statistic": statistic, "p": p, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
