"""Test the sampled answers of a run against local weights, and return ``identity.json``.

Only this step needs the weights: a report reads the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.control_samples import (
    CONTROL,
    ControlSummary,
    calibrated,
    sample_precisions,
    spread,
)
from phi2sdk.identity.findings import (
    Comparable,
    Finding,
    comparable,
    count_finding,
    finish_finding,
    same_words,
)
from phi2sdk.identity.greedy import greedy_regrets
from phi2sdk.identity.logprob_tests import LogprobsTest
from phi2sdk.identity.prompt_logprobs import told_figures
from phi2sdk.identity.score_answers import scored
from phi2sdk.identity.verdict import ALPHA, Tests, Verdict, judge, run_tests, target_p
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.sampled import Answers, leading_space, usable

__all__ = ["SCHEMA", "examine", "examine_each", "sampled_records", "unavailable"]

SCHEMA = "phi2sdk.identity/1"
TEMPLATE = 32
"""Tokens of the context that are kept free for longer templates and splits."""


def sampled_records(run: Run) -> dict[str, list[Record]]:
    """Return the sampled records by target, in an order that does not depend on time."""
    found: dict[str, list[Record]] = {name: [] for name in run.configuration["targets"]}
    for key, record in sorted(run.recorded.done.items()):
        if key.arm == "sampled":
            found[key.target].append(record)
    return found


def examine(
    run: Run,
    weights: Weights,
    *,
    alpha: float = ALPHA,
    notice: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Test every target of a run, and return the document of ``identity.json``.

    The weights are loaded in each honest precision, quantized, and as other models, one after
    another.

    Args:
        run: A run with sampled answers, complete or not.
        weights: The weights with which the answers are compared.
        alpha: The probability that any honest target at all is rejected.
        notice: Receives a sentence about each step that takes a while.
        stopped: Returns whether to stop, which raises an error.

    Raises:
        ConfigurationError: The tests were stopped, the run has no sampled answers, or the weights
            cannot be used.
        OutOfMemory: The weights do not fit into memory.
    """
    return examine_each([run], weights, alpha=alpha, notice=notice, stopped=stopped)[0]


def examine_each(
    runs: Sequence[Run],
    weights: Weights,
    *,
    alpha: float = ALPHA,
    notice: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Examine several runs with the same prompts; their equal answers are scored once.

    Args:
        runs: For example a run, and its first calls only.
        weights: As for :func:`examine`, which names the errors.
        alpha: As there.
        notice: As there.
        stopped: As there.
    """
    if not all(run.identity_prompts for run in runs):
        raise ConfigurationError(
            "this run has no sampled answers: start a new one with --identity 100"
        )
    loader = Loader(weights, notice, stopped)
    try:
        every = [_Examination(run, loader, sampled_records(run), alpha) for run in runs]
        groups = {
            (place, name): answers
            for place, one in enumerate(every)
            for name, answers in one.collected().items()
        }
        groups, tables = scored(loader, runs[0].identity_prompts, runs[0].identity_format, groups)
        if notice is not None:
            notice("identity: comparing ...")
        return [
            one.document(
                {name: found for (of, name), found in groups.items() if of == place},
                {name: found for (of, name), found in tables.items() if of == place},
            )
            for place, one in enumerate(every)
        ]
    finally:
        loader.free()


def unavailable(run: Run, why: str) -> dict[str, Any]:
    """Return the document for weights that could not be used."""
    count = sum(len(records) for records in sampled_records(run).values())
    return {"schema": SCHEMA, "records": count, "unavailable": why}


@dataclass(slots=True)
class _Examination:
    run: Run
    loader: Loader
    records: Mapping[str, Sequence[Record]]
    alpha: float
    compared: Mapping[str, Comparable] = field(default_factory=dict)

    def collected(self) -> dict[str, Answers]:
        """Return all answers that are scored, by a name that :meth:`document` uses."""
        answers = self._answers()
        self.compared = self._compared(answers)
        for name, one in self.compared.items():
            if one.treated:
                answers[_treated(name)] = one.target
                answers |= {_treated(name, n): control for n, control in one.control.items()}
        return answers

    def document(
        self, answers: Mapping[str, Answers], tables: Mapping[str, CallTable]
    ) -> dict[str, Any]:
        """Return the document of the run from its scored answers."""
        run, loader, compared = self.run, self.loader, self.compared
        honest = next(iter(tables.values())).honest  # without what overflows
        control = {name: tables[_own_name(name)] for name in honest}
        pairs = {
            name: (tables[_treated(name)], {n: tables[_treated(name, n)] for n in honest})
            if one.treated
            else (tables[name], control)
            for name, one in compared.items()
        }
        tests = {name: run_tests(*pair) for name, pair in pairs.items()}
        targets = {name: answers[name] for name in self.records}
        told = told_figures(run, loader, honest, alpha=self.alpha)
        found = self._document(targets, tests, told.tests, _own_tests(control), control)
        for name, answered in targets.items():
            findings = self._findings(name, answered, compared[name].findings)
            found["targets"][name]["findings"] = {n: asdict(one) for n, one in findings.items()}
        for parts, figures in (
            (found["targets"], told.targets),
            (found["calibration"]["precisions"], told.precisions),
        ):
            for name in parts.keys() & figures.keys():
                parts[name]["logprobs"] = figures[name]
        return found | {"told": len(run.told), "regret": greedy_regrets(run, loader)}

    def _answers(self) -> dict[str, Answers]:
        """The answers of the targets, and of the local weights in each honest precision."""
        run, loader = self.run, self.loader
        prompts = run.identity_prompts
        own_prompts = spread(list(prompts), CONTROL * run.configuration["identity"]["calls"])
        texts = sample_precisions(
            loader,
            [prompts[id] for id in own_prompts],
            max_tokens=run.configuration["max_tokens"],
            seed=run.configuration["seed"],
        )
        leading = leading_space(texts[loader.weights.honest[0]])
        answers = {name: usable(found, leading=leading) for name, found in self.records.items()}
        answers |= {_own_name(n): Answers.of_texts(own_prompts, t) for n, t in texts.items()}
        model = loader.any()
        room = {
            id: model.context_length - len(model.encode(text)) - TEMPLATE
            for id, text in prompts.items()
        }
        return {name: found.cut_to(room, model) for name, found in answers.items()}

    def _compared(self, answers: Mapping[str, Answers]) -> dict[str, Comparable]:
        """The answers of each target and of its control, after findings are undone."""
        model = self.loader.any()
        own = {name: answers[_own_name(name)] for name in self.loader.weights.honest}
        return {
            name: comparable(answers[name], own, model, spaces_differ=self._spaces_differ(name))
            for name in self.records
        }

    def _spaces_differ(self, name: str) -> bool:
        """Return whether a greedy answer differs from the reference's in white space only."""
        done = self.run.recorded.done
        reference = self.run.configuration.get("reference")
        greedy = [r for key, r in done.items() if key.arm == "greedy" and key.target == name]
        beside = (done.get(r.key._replace(target=str(reference))) for r in greedy)
        return any(
            other is not None and same_words(one.text, other.text)
            for one, other in zip(greedy, beside, strict=True)
        )

    def _findings(
        self, name: str, answers: Answers, tested: Mapping[str, Finding]
    ) -> dict[str, Finding]:
        """The findings of a target, with finish reasons and token counts."""
        model = self.loader.any()
        length = tested.get("length")
        cap = None if length is None else length.figures.get("cap")
        maximum = self.run.configuration["max_tokens"]
        further = {
            "finish-reason": finish_finding(self.records[name], model, maximum, cap),
            "counts": count_finding(answers),
        }
        return {**tested, **{key: one for key, one in further.items() if one is not None}}

    def _document(
        self,
        targets: Mapping[str, Answers],
        tests: Mapping[str, Tests | None],
        scored: Mapping[str, LogprobsTest],
        own_tests: Mapping[str, Tests | None],
        own: Mapping[str, CallTable],
    ) -> dict[str, Any]:
        weights, configuration = self.loader.weights, self.run.configuration
        verdicts = judge(
            {name: found for name, found in tests.items() if not self._is_reference(name)},
            scored,
            alpha=self.alpha,
        )
        verdicts |= {n: Verdict("reference") for n in tests if self._is_reference(n)}
        judged = judge(own_tests, alpha=self.alpha)
        honest = list(own)
        reference = own_tests[weights.honest[0]]
        ratios = reference.line_up.log_ratio if reference is not None else {}
        calibration = calibrated(own, ratios, list(self.run.identity_prompts))
        return {
            "schema": SCHEMA,
            "records": sum(len(records) for records in self.records.values()),
            "calibration": {
                "model": weights.model,
                "honest": honest,
                "alpha": self.alpha,
                "prompts": len(self.run.identity_prompts),
                **_calibration(calibration),
                "precisions": {
                    name: _precision(name, calibration, own_tests[name], judged[name])
                    for name in own
                },
            },
            "targets": {
                name: _target(targets[name], tests[name], verdicts[name], len(self.records[name]))
                | {"p_target": target_p(tests[name], scored.get(name))}
                for name in configuration["targets"]
            },
        }

    def _is_reference(self, name: str) -> bool:
        """Return whether a target is the reference of the run and has the same weights."""
        described = self.run.configuration["targets"][name]
        settings = described["settings"]
        return (
            name == self.run.configuration["reference"]
            and described["backend"] == "local"
            and settings.get("model", "microsoft/phi-2") == self.loader.weights.model
            and not settings.get("quantize")
        )


def _own_name(precision: str) -> str:
    return f"local {precision}"  # no target has a name with a space


def _treated(name: str, precision: str = "") -> str:
    """The answers of a target, or of its control, after what was found is undone."""
    return f"{name} compared {precision}"


def _own_tests(control: Mapping[str, CallTable]) -> dict[str, Tests | None]:
    """Test the control answers of each precision: half of them against the other halves.

    With one answer to each prompt there are no halves, and they are tested against the control
    answers of the other precisions.
    """
    second = {name: _repetition(calls) % 2 == 1 for name, calls in control.items()}
    halves = {n: calls.take(np.flatnonzero(second[n])) for n, calls in control.items()}
    if all(len(half) for half in halves.values()):
        return {
            name: run_tests(calls.take(np.flatnonzero(~second[name])), halves)
            for name, calls in control.items()
        }
    return {
        name: run_tests(calls, {n: c for n, c in control.items() if n != name})
        for name, calls in control.items()
    }


def _repetition(calls: CallTable) -> NDArray[np.int64]:
    """Return the number of earlier calls with the same prompt for each call, ``[n]``."""
    found = np.zeros(len(calls), dtype=np.int64)
    for one in np.unique(calls.prompt):
        rows = np.flatnonzero(calls.prompt == one)
        found[rows] = np.arange(len(rows))
    return found


def _calibration(found: ControlSummary) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "tokens": found.tokens,
        "entropy": found.entropy,
        "entropy_by_prompt": dict(found.entropy_by_prompt),
        "candidates": dict(found.ratios),
    }


def _precision(
    name: str, calibration: ControlSummary, tests: Tests | None, verdict: Verdict
) -> dict[str, Any]:
    return {
        "kl_per_token": calibration.kl[name],
        "verdict": verdict.name,
        "p": verdict.p,
        "temperature": None if tests is None else _temperature(tests),
    }


def _target(answers: Answers, tests: Tests | None, verdict: Verdict, calls: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "verdict": verdict.name,
        "p": verdict.p,
        "power_by_candidate": dict(verdict.detection.power),
        "power_of_score_test": dict(verdict.detection.general),
        "calls": calls,
        "used": len(answers.ids),
        "tokens": sum(map(len, answers.ids)),
        "left_out": dict(answers.left_out),
        "wrapped": answers.wrapped,
        "restored": answers.restored,
        "counts_differ": answers.counts_differ,
    }
    if tests is None:
        return document
    return document | {
        "entropy": tests.entropy / max(1, tests.tokens),
        "closest": verdict.closest,
        "candidates": {n: v / math.log(10) for n, v in tests.line_up.log_ratio.items()},
        "share": verdict.share,
        "temperature": _temperature(tests),
        "evidence": {
            name: {
                "p": one.p,
                "p_by_precision": dict(one.alone),
                "statistic": one.statistic,
            }
            for name, one in tests.instruments.items()
        },
    }


def _temperature(tests: Tests) -> dict[str, float | None] | None:
    found = tests.temperature
    if found is None:
        return None
    return {"value": found.value, "low": found.low, "high": found.high}
