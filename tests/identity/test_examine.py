"""From records to ``identity.json`` to the report, whatever the answers are."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.identity import examine as module
from phi2sdk.identity import findings, score_answers
from phi2sdk.identity.call_table import BETAS, CallTable
from phi2sdk.identity.examine import examine
from phi2sdk.identity.score_calls import ScoredCall
from phi2sdk.identity.verdict import run_tests
from phi2sdk.identity.weights import Weights
from phi2sdk.measure.folder import Run
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build
from phi2sdk.report.markdown import markdown
from phi2sdk.report.schema import Report, published_schema
from tests.measure.making import answer, failure
from tests.report.making import run_of

PROMPTS = {"a": "Instruct: Write about a.\nOutput:", "b": "Instruct: Write about b.\nOutput:"}
WEIGHTS = Weights(model="demo")


def sampled(target: str, texts: Sequence[str | None], prompts: Sequence[str]) -> list[Record]:
    """One answer for each text, ``None`` for a failed request."""
    found = []
    for number, text in enumerate(texts):
        key = Key("sampled", target, prompts[number % len(prompts)], number // len(prompts))
        plain = failure() if text is None else answer(text=text, raw=text)
        found.append(replace(plain, key=key))
    return found


def run_with(records: Sequence[Record], prompts: Mapping[str, str], calls: int) -> Run:
    targets = sorted({record.key.target for record in records})
    greedy = [answer("a", target=name, text=" A is a letter.") for name in targets]
    run = run_of(greedy)
    arm = {"calls": calls, "prompts": dict(prompts), "format": "instruct"}
    info = {**run.info, "configuration": {**run.configuration, "identity": arm}}
    done = {record.key: record for record in (*greedy, *records)}
    return Run(info, Recorded(done=done, sessions=1))


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the model: a text's figures are a function of its characters."""

    def sample(loader: object, asked: Sequence[str], **options: object) -> dict[str, list[str]]:
        own = [f" {'abcdefgh'[i % 8]} is a thing of {i}" for i in range(len(asked))]
        return {name: [f"{text} {name}" for text in own] for name in WEIGHTS.honest}

    def spelt(model: object, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, ...]]:
        return [tuple(zlib.crc32(word.encode()) % 99 for word in t.split()) for _, t in pairs]

    def score(loader: object, calls: Sequence[ScoredCall], format: str) -> CallTable:
        tokens = np.array([len(call.ids) for call in calls], dtype=np.int64)
        own = [np.random.default_rng([7, *call.ids]) for call in calls]
        drift = np.array([rng.normal(0, math.sqrt(n)) for rng, n in zip(own, tokens, strict=True)])
        logp = drift - 1.4 * tokens
        return CallTable(
            np.array([call.prompt for call in calls], dtype=np.int64),
            tokens,
            tokens * np.float64(1.4),
            dict.fromkeys(WEIGHTS.honest, logp),
            dict.fromkeys(WEIGHTS.honest, drift),
            dict.fromkeys(WEIGHTS.honest, tokens * np.float64(1)),
            np.outer(logp, BETAS) - np.outer(tokens, (BETAS - 1) ** 2),
            {"int4": logp + np.array([rng.normal() for rng in own])},
        )

    class Model:
        context_length = 80
        phi = SimpleNamespace(small=False)

        def encode(self, text: str) -> list[int]:
            return list(range(len(text.split())))

        def decode(self, ids: list[int]) -> str:
            return " word" * len(ids)

        def piece(self, id: int) -> bytes:
            return b" word"

    class Loader:
        def __init__(self, weights: Weights, *rest: object) -> None:
            self.weights, self.notice = weights, None

        def load(self, name: str) -> Any:
            return Model()

        def any(self) -> Any:
            return Model()

        def free(self) -> None:
            pass

    monkeypatch.setattr(module, "run_tests", partial(run_tests, permutations=99))
    monkeypatch.setattr(findings, "PERMUTATIONS", 99)
    monkeypatch.setattr(module, "sample_precisions", sample)
    monkeypatch.setattr(score_answers, "as_written", spelt)
    monkeypatch.setattr(score_answers, "score_calls", score)
    monkeypatch.setattr(module, "Loader", Loader)
    monkeypatch.setattr(module, "greedy_regrets", lambda run, loader: {})


def report_of(run: Run) -> Report:
    """Examined, written, read and reported; nothing of it may be NaN or infinite."""
    document = json.loads(json.dumps(examine(run, WEIGHTS), allow_nan=False))
    report = build(replace(run, identity=document), estimating_tokenizer())
    json.loads(report.to_json(), parse_constant=_refuse)
    jsonschema.validate(json.loads(report.to_json()), json.loads(published_schema()))
    assert "nan" not in markdown(report).split()
    return report


def _refuse(constant: str) -> None:
    raise AssertionError(constant)


TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            "",
            " ",
            " yes",
            " I cannot answer that.",
            "日本語の答えです。",
            " bad \ufffd",
            "<|endoftext|>",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=60),
)


@settings(max_examples=25, deadline=None)
@given(first=st.lists(TEXTS, max_size=12), second=st.lists(TEXTS, max_size=6), one=st.booleans())
def test_whatever_is_answered_is_counted_and_reported(
    first: list[str | None], second: list[str | None], one: bool
) -> None:
    prompts = {"a": PROMPTS["a"]} if one else PROMPTS
    records = sampled("x", first, list(prompts)) + sampled("y", second, list(prompts))
    if not records:
        return
    report = report_of(run_with(records, prompts, calls=max(len(first), len(second), 1)))
    for name, texts in (("x", first), ("y", second)):
        if name not in report.identity:
            continue
        found = report.identity[name]
        assert found.calls == len(texts)
        assert found.used + sum(found.left_out.values()) == len(texts)
        assert found.left_out.get("failed", 0) == sum(text is None for text in texts)
        assert found.verdict in ("consistent", "different", "undetermined", "reference")
        assert found.sentence.startswith(f"{name} is ") or found.verdict == "different"


def test_a_target_whose_every_call_fails_is_undetermined_and_affects_no_other() -> None:
    own = [f" {c} is a thing" for c in "abcdefghijkl"]
    records = sampled("broken", [None] * 12, list(PROMPTS)) + sampled("fine", own, list(PROMPTS))
    report = report_of(run_with(records, PROMPTS, calls=12))
    assert report.identity["broken"].verdict == "undetermined"
    assert report.identity["broken"].left_out == {"failed": 12}
    assert "12 failed" in report.identity["broken"].sentence
    assert report.identity["fine"].used == 12
    assert report.failed == 12


def test_half_of_the_calls_failing_leaves_the_other_half() -> None:
    texts = [None if i % 2 else f" {i} of them are things" for i in range(16)]
    report = report_of(run_with(sampled("half", texts, list(PROMPTS)), PROMPTS, calls=16))
    assert report.identity["half"].used == 8
    assert report.identity["half"].left_out == {"failed": 8}


def test_answers_that_came_after_the_examination_make_it_void() -> None:
    run = run_with(sampled("x", [" a", " b"], list(PROMPTS)), PROMPTS, calls=2)
    document = examine(run, WEIGHTS)
    more = Recorded(
        done={
            **run.recorded.done,
            **{r.key: r for r in sampled("x", [" a", " b", " c"], list(PROMPTS))},
        }
    )
    report = build(replace(run, identity=document, recorded=more), estimating_tokenizer())
    assert report.identity["x"].verdict == "not-tested"
    assert "--resume" in report.identity["x"].sentence


def test_answers_beyond_the_context_are_cut_and_prompts_beyond_it_left_out() -> None:
    long = {**PROMPTS, "b": "Instruct: " + "so " * 90 + "\nOutput:"}
    texts = [" and so on" * 400, " fine", " b c", " d"]
    report = report_of(run_with(sampled("x", texts, list(long)), long, calls=4))
    assert report.identity["x"].left_out == {"prompt too long": 2}
    assert report.identity["x"].used == 2
    assert report.identity["x"].tokens < 80
