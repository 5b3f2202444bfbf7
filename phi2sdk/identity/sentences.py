"""Verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from phi2sdk.identity.likelihood_tests import Temperature
from phi2sdk.identity.verdict import Tests, Verdict
from phi2sdk.measure.sampled import Answers

__all__ = ["evidence_sentences", "own_sentence", "temperature_text", "verdict_sentence"]


def verdict_sentence(
    name: str,
    verdict: Verdict,
    tests: Tests | None,
    answers: Answers,
    *,
    label: str,
    honest: Sequence[str],
    template: str,
    own: str,
) -> str:
    """What is said of a target.

    Args:
        name: The target's.
        verdict: On it.
        tests: What the instruments found, if anything could be scored.
        answers: What was scored and what was not.
        label: The model's name.
        honest: The precisions in which the model counts as itself.
        template: The prompts' format.
        own: How the local weights fare in the same test, as a sentence.
    """
    if tests is None:
        return f"{name}: undetermined, since no answer could be scored{_left_out(answers)}."
    calls = f"{tests.calls:,} calls, {tests.tokens:,} tokens"
    kl = "" if verdict.smallest_detectable_kl is None else f"{verdict.smallest_detectable_kl:.2g}"
    p = "" if verdict.p is None else f" (p = {verdict.p:.2g})"
    if verdict.name == "reference":
        return f"{name}: the reference itself, {label}, in the same tests{_at_odds(tests)}."
    if verdict.name == "undetermined":
        return (
            f"{name}: undetermined: {calls} with {tests.entropy:.0f} nats of entropy in all are "
            f"too little to tell{_left_out(answers)}."
        )
    if verdict.name == "consistent":
        return (
            f"{name}: consistent with {label} at T = 1.0 in {_listed(honest, 'or')}{p}, "
            f"from {calls}{_left_out(answers)}; smallest detectable KL {kl} nats a token."
        )
    return (
        f"{name}: not {label} at T = 1.0 in any honest precision. Closest candidate: "
        f"{_closest(tests, template)}{temperature_text(tests.temperature)}. "
        f"{_strongest(tests)}{p} from {calls}{_left_out(answers)}. {own}; "
        f"smallest detectable KL {kl}."
    )


def evidence_sentences(tests: Tests) -> Mapping[str, str]:
    """Each instrument's finding, in words."""
    z = tests.score.statistic
    way = "likelier" if z > 0 else "less likely"
    said = {
        "score": f"the text is {abs(z):.1f} standard errors {way} than its author would find it",
        "line-up": f"evidence {_odds(tests.line_up.statistic)} for {tests.line_up.closest}"
        if tests.line_up.statistic > 0
        else f"closest candidate {tests.line_up.closest}, no evidence against the reference",
        "routing": f"evidence {_odds(tests.routing.statistic)} that about "
        f"{tests.routing.share:.0%} of the calls were answered by another"
        if tests.routing.statistic > 0
        else "no sign that calls are answered by another",
    }
    if tests.mmd is not None:
        said["mmd"] = f"texts against the reference's own: p = {tests.mmd.p:.2g} by permutation"
    return said


def _listed(names: Sequence[str], word: str) -> str:
    """``float32, float16 or bfloat16``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def own_sentence(failed: Sequence[str], honest: Sequence[str]) -> str:
    """How the local weights fare in the same test."""
    if failed:
        return f"Local {_listed(failed, 'and')} FAILS the same test: do not rely on this"
    several = "passes" if len(honest) == 1 else "pass"
    return f"Local {_listed(honest, 'and')} {several} the same test"


def temperature_text(found: Temperature | None) -> str:
    """``, effective T = 0.80 [0.78, 0.83]``; nothing where it is not known."""
    if found is None:
        return ""
    low = "below" if found.low is None else f"{found.low:.2f}"
    high = "above" if found.high is None else f"{found.high:.2f}"
    return f", effective T = {found.value:.2f} [{low}, {high}]"


def _closest(tests: Tests, template: str) -> str:
    name = tests.line_up.closest
    reference = next(iter(tests.line_up.log_e))
    if name.startswith("template="):
        return f"{reference}, {name.removeprefix('template=')} template"
    if "=" in name:
        return f"{reference} with {name.replace('=', ' = ')}, {template} template"
    return f"{name}, {template} template"


def _strongest(tests: Tests) -> str:
    """The instrument that accuses, and how loudly where it is a likelihood ratio."""
    routing, line_up = tests.routing.statistic, tests.line_up.statistic
    best = tests.strongest
    if best == "score" and max(routing, line_up) > -math.log(max(tests.score.p, 1e-300)):
        best = "routing" if routing > line_up else "line-up"
    if best in ("line-up", "routing") and routing > line_up + 1 and tests.routing.share < 0.75:
        return (
            f"About {tests.routing.share:.0%} of the calls are answered by another. "
            f"Evidence {_odds(routing)}"
        )
    if best in ("line-up", "routing"):
        return f"Evidence {_odds(max(line_up, routing))}"
    return f"Evidence: {_NAMES[best]}"


_NAMES = {"score": "score test", "mmd": "its texts against the reference's own"}


def _odds(log_e: float) -> str:
    """``10^7.8 : 1`` from a natural logarithm."""
    return f"10^{log_e / math.log(10):.1f} : 1"


def _at_odds(tests: Tests) -> str:
    return f" (p = {tests.p:.2g})"


def _left_out(answers: Answers) -> str:
    if not answers.left_out:
        return ""
    causes = ", ".join(f"{count} {cause}" for cause, count in answers.left_out.items())
    return f" ({causes}: left out)"
