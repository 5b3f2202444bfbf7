"""The results of the identity tests in sentences.

A sentence claims only what was tested. The power of a run is stated for the candidates by name,
and never as a divergence that would have been detected whatever its cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from phi2sdk.measure.tokens import model_label
from phi2sdk.report.format import p_value
from phi2sdk.report.schema import (
    EvidenceReport,
    FindingReport,
    IdentityCalibrationReport,
    IdentityReport,
    TemperatureReport,
)

__all__ = [
    "LEVEL",
    "candidate_name",
    "difference_sentence",
    "evidence_sentence",
    "excludes",
    "finding_sentence",
    "general_power_sentence",
    "listed",
    "power_sentence",
    "temperature_sentence",
    "verdict_sentence",
]

SURE = 0.95
"""A candidate is detected reliably from this probability on."""
MOST_NAMED = 4
"""A sentence names at most this many candidates of low power."""
DECLARED = 1.0
"""The temperature at which the sampled answers are requested."""
LEVEL = 0.05


def verdict_sentence(name: str, one: IdentityReport, calibration: IdentityCalibrationReport) -> str:
    """Return the verdict on a target in a few sentences.

    Args:
        name: The target.
        one: The results of its tests.
        calibration: The model, its honest precisions, and their own results.
    """
    label = model_label(calibration.model)
    left_out = _left_out(one.left_out)
    if not one.used:
        return f"{name} is undetermined, because no answer could be scored{left_out}."
    text = f"{one.used:,} calls, {one.tokens:,} tokens{left_out}"
    if one.verdict == "reference":
        return _joined(
            f"{name} is the reference, {label}. Its own answers are tested in the same way "
            f"(p = {p_value(one.p_target)}; {text}).",
            temperature_sentence(name, one),
        )
    if one.verdict == "undetermined":
        nats = (one.entropy or 0.0) * one.tokens
        return (
            f"{name} is undetermined, because {text} with an entropy of {nats:.0f} nats are too "
            "little text."
        )
    if one.verdict == "consistent":
        precisions = listed(calibration.honest, "or")
        return _joined(
            f"{name} is consistent with {label} at temperature 1 in {precisions} "
            f"(p = {p_value(one.p)}; {text}).",
            temperature_sentence(name, one),
        )
    return _joined(
        difference_sentence(name, one),
        f"The tests used {text}.",
        _share_sentence(one),
        temperature_sentence(name, one),
        _own_sentence(calibration),
    )


def difference_sentence(name: str, one: IdentityReport) -> str:
    """Return one sentence that says that a target is different, and names the closest candidate.

    Args:
        name: The target.
        one: Its results, with the verdict ``different``.
    """
    p = f"(p = {p_value(one.p)})"
    if one.closest is None:
        return (
            f"{name} serves a different model or samples differently {p}; no candidate explains "
            "its answers."
        )
    return f"{name} {_difference(one)} {p}: the closest candidate is {candidate_name(one.closest)}."


def _difference(one: IdentityReport) -> str:
    kind = str(one.closest).partition("=")[0]
    share = f" for about {one.share:.0%} of the calls" if one.share is not None else ""
    if kind == "template":
        return f"uses a different prompt template{share}"
    if kind == "system":
        return f"adds a system prompt{share}"
    sampling = kind in _SAMPLING
    return f"{'samples differently' if sampling else 'serves a different model'}{share}"


_SAMPLING = {
    "T": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition penalty",
}


def candidate_name(candidate: str) -> str:
    """Return the name of a candidate in a sentence.

    >>> candidate_name("T=0.8"), candidate_name("int4"), candidate_name("template=qa")
    ('temperature 0.8', 'int4 quantization', 'the qa prompt template')
    """
    kind, _, value = candidate.partition("=")
    if kind == "template":
        return f"the {value} prompt template"
    if kind == "system":
        return f"a system prompt (the {value} one)"
    if kind in _SAMPLING:
        return f"{_SAMPLING[kind]} {value}"
    if candidate.startswith("other:"):
        return f"the model {candidate.removeprefix('other:')}"
    if candidate.startswith("int"):
        return f"{candidate} quantization"
    return f"{candidate} precision"


def _share_sentence(one: IdentityReport) -> str | None:
    if one.share is None:
        return None
    return (
        f"About {one.share:.0%} of its calls fit this candidate, and the others fit the reference."
    )


def _own_sentence(calibration: IdentityCalibrationReport) -> str:
    failed = [n for n, one in calibration.precisions.items() if one.verdict == "different"]
    if failed:
        return (
            f"The local weights in {listed(failed, 'and')} fail the same tests, so do not rely on "
            "this verdict."
        )
    return f"The local weights in {listed(calibration.honest, 'and')} pass the same tests."


def temperature_sentence(name: str, one: IdentityReport) -> str | None:
    """Return what an interval of the effective temperature means that excludes 1, else ``None``.

    Args:
        name: The target.
        one: Its results.
    """
    found = one.temperature
    if found is None or not excludes(found):
        return None
    said = (
        f"The effective temperature of {name} is {temperature_text(found)}, and this 95% interval "
        f"excludes the requested temperature 1: its answers are "
        f"{'less' if found.value < DECLARED else 'more'} varied than the reference weights predict"
    )
    if one.verdict == "different":
        return f"{said}."
    return (
        f"{said}. This alone rejects nothing, because the interval is not adjusted for the number "
        "of tests and targets: it excludes 1 for about one unmodified target in 20."
    )


def excludes(found: TemperatureReport) -> bool:
    """Return whether the interval of an effective temperature excludes the requested one."""
    low = found.low if found.low is not None else -math.inf
    high = found.high if found.high is not None else math.inf
    return not low <= DECLARED <= high


def temperature_text(found: TemperatureReport) -> str:
    """Return an effective temperature with its interval.

    >>> temperature_text(TemperatureReport(value=0.8, low=0.78, high=0.83))
    '0.80 [0.78, 0.83]'
    """
    low = "below" if found.low is None else f"{found.low:.2f}"
    high = "above" if found.high is None else f"{found.high:.2f}"
    return f"{found.value:.2f} [{low}, {high}]"


def power_sentence(calls: int, power: Mapping[str, float]) -> str | None:
    """Return what a run would have detected of its candidates; ``None`` where that is not known.

    Args:
        calls: The number of calls of a target.
        power: The probability of detection, by candidate.
    """
    if not power:
        return None
    sure = [name for name, value in power.items() if value >= SURE]
    weak = sorted(((v, n) for n, v in power.items() if v < SURE), reverse=True)
    shown = [f"{candidate_name(name)} ({probability(value)})" for value, name in weak]
    if len(shown) > MOST_NAMED:
        shown = [*shown[:MOST_NAMED], f"{len(shown) - MOST_NAMED} others less often"]
    said = f"With {calls:,} calls of each target, this run would have detected "
    if not sure:
        return f"{said}no candidate reliably: {listed(shown, 'and')}."
    first = "int4" if "int4" in sure else sure[0]
    said += f"{candidate_name(first)} with a probability of {probability(power[first])}"
    if len(sure) > 1:
        others = "another candidate" if len(sure) == 2 else f"{len(sure) - 1} other candidates"
        said += f" and {others} with {SURE:g} or more"
    if shown:
        said += f", but less often {listed(shown, 'and')}"
    return f"{said}."


def general_power_sentence(general: Mapping[str, float]) -> str | None:
    """Return what to expect of changes that are no candidates; ``None`` where nothing is known.

    Args:
        general: The probability that the score test alone detects a candidate.
    """
    if not general:
        return None
    sure = sum(value >= SURE for value in general.values())
    least = "int4" if "int4" in general else min(general, key=general.__getitem__)
    return (
        "Changes that are not in the list of candidates may remain undetected. The score test, "
        f"which does not use the list, would have detected {sure} of the {len(general)} candidates "
        f"with a probability of {SURE:g} or more, and {candidate_name(least)} with "
        f"{probability(general[least])}."
    )


def probability(value: float) -> str:
    """Return a probability with two decimals; only what is certain reads as 0 or 1.

    >>> probability(0.9999), probability(0.5), probability(0.001)
    ('more than 0.99', '0.50', 'less than 0.01')
    """
    if value > 0.99:
        return "more than 0.99"
    return "less than 0.01" if value < 0.01 else f"{value:.2f}"


def evidence_sentence(test: str, one: EvidenceReport, found: IdentityReport) -> str:
    """Return the result of one test in a sentence.

    Args:
        test: Its key in the report.
        one: Its result.
        found: All results of the target.
    """
    rejects = one.p <= LEVEL
    if test == "score":
        way = "more" if one.statistic > 0 else "less"
        return (
            f"The answers are {abs(one.statistic):.1f} standard errors {way} likely under the "
            "reference than its own answers are."
        )
    if test == "line-up":
        if not rejects or found.closest is None:
            return "No candidate explains the answers significantly better than the reference."
        return (
            f"The candidates, of which {candidate_name(found.closest)} is the closest, explain the "
            f"answers better than the reference: {_odds(one.statistic)}."
        )
    if test == "routing":
        if not rejects:
            return "There is no evidence that a share of the calls is answered by something else."
        if found.share is None:
            return (
                "The deviation is not limited to a share of the calls: all or nearly all of them "
                f"fit a candidate better than the reference ({_odds(one.statistic)})."
            )
        return (
            f"About {found.share:.0%} of the calls fit a candidate better than the reference "
            f"({_odds(one.statistic)})."
        )
    compared = _COMPARED.get(test, "texts")
    if rejects:
        return f"The {compared} differ from the reference's own more than chance explains."
    return f"The {compared} do not differ significantly from the reference's own."


_COMPARED = {
    "bigrams": "pairs of consecutive words",
    "tokens": "frequencies of tokens, compared with those that the reference predicts,",
}


def finding_sentence(name: str, subject: str, one: FindingReport) -> str:
    """Return a property of a target's answers, and what the tests of the model do about it.

    Args:
        name: The target.
        subject: The key of the finding in the report.
        one: The finding.
    """
    return _FINDINGS[subject](name, one.kind, one.figures)


def _length(name: str, kind: str, figures: Mapping[str, float]) -> str:
    if kind == "capped":
        return (
            f"{name} caps its answers at about {figures['cap']:.0f} tokens, while the reference's "
            f"own answers have up to {figures['control_longest']:.0f}. The identity tests "
            "cut all answers to the same length."
        )
    if kind == "first-sentence":
        return (
            f"{name} returns one sentence only in {figures['single']:.0%} of its answers, while "
            f"{figures['control_single']:.0%} of the reference's own answers are one sentence. The "
            "identity tests compare first sentences."
        )
    if kind == "cut":
        return (
            f"{name} cuts its answers: {figures['unfinished']:.0%} of them end in mid-sentence, "
            f"and {figures['control_unfinished']:.0%} of the reference's own answers. The identity "
            "tests cut all answers to the same length."
        )
    return (
        f"The sampled answers of {name} are {kind} than the reference's own ({figures['mean']:.0f} "
        f"tokens on average, {figures['control_mean']:.0f} for the reference). The identity tests "
        "cut all answers to the same length."
    )


_SPACES = {
    "line-breaks": "line breaks",
    "wide-spaces": "runs of spaces or tabs",
    "leading-space": "white space at the beginning",
    "trailing-space": "white space at the end",
}


def _white_space(name: str, kind: str, figures: Mapping[str, float]) -> str:
    if kind in _SPACES:
        said = (
            f"{figures['share']:.0%} of its answers have {_SPACES[kind]}, and "
            f"{figures['control_share']:.0%} of the reference's own answers"
        )
    else:
        said = "greedy answers differ from the reference's in white space only"
    return (
        f"{name} changes the white space of its answers: {said}. The identity tests compare "
        "texts with one space in place of each run of white space."
    )


def _repeats(name: str, _: str, figures: Mapping[str, float]) -> str:
    return (
        f"{name} repeats its answers: {figures['repeated']:.0f} of {figures['answers']:.0f} equal "
        f"another answer to the same prompt, and {figures['control_repeated']:.0f} of "
        f"{figures['control_answers']:.0f} of the reference's own. A response cache, a fixed seed "
        "or greedy decoding can cause this. The identity tests compare distinct answers."
    )


def _finish_reason(name: str, _: str, figures: Mapping[str, float]) -> str:
    said = []
    if figures["early"]:
        said.append(
            f'"length" for {figures["early"]:.0f} answers that are shorter than the requested '
            f"{figures['max_tokens']:.0f} tokens"
        )
    if figures["unfinished"]:
        said.append(f'"stop" for {figures["unfinished"]:.0f} answers that end in mid-sentence')
    return (
        f"{name} reports finish reasons that contradict its answers: {' and '.join(said)} (of "
        f"{figures['answers']:.0f} answers)."
    )


def _counts(name: str, _: str, figures: Mapping[str, float]) -> str:
    return (
        f"{name} counts {figures['counted']:,.0f} tokens in its answers, while the reference "
        f"tokenizer counts {figures['tokens']:,.0f}; {figures['differ']:.0f} of "
        f"{figures['answers']:.0f} counts differ. This affects the cost and not the verdict."
    )


_FINDINGS = {
    "length": _length,
    "white-space": _white_space,
    "repeats": _repeats,
    "finish-reason": _finish_reason,
    "counts": _counts,
}


def listed(names: Sequence[str], word: str) -> str:
    """Return names as a list in a sentence.

    >>> listed(["float32", "float16", "bfloat16"], "or")
    'float32, float16 or bfloat16'
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def _odds(log_e: float) -> str:
    return f"likelihood ratio 10^{log_e / math.log(10):.1f} : 1"


def _left_out(causes: Mapping[str, int]) -> str:
    if not causes:
        return ""
    said = ", ".join(f"{count:,} {cause}" for cause, count in causes.items())
    return f"; left out: {said}"


def _joined(*sentences: str | None) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
