"""Greedy answers of a run, compared with the bundled weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phi2sdk.backends.engine import LocalModel
from phi2sdk.identity.control_samples import sample_texts
from phi2sdk.identity.greedy import greedy_regrets
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.prompts import instruct
from phi2sdk.report.build import build
from phi2sdk.sampling import Sampling
from tests.measure.making import answer, failure
from tests.report.making import run_of

SUBJECTS = ("glass", "honey", "rain", "iron", "paper", "copper", "salt", "wool", "clay", "ice")
PROMPTS = {name: instruct(f"Write a paragraph about {name}.").text for name in SUBJECTS}
GREEDY = Sampling(max_tokens=40, temperature=0.0)


def answers(target: str, texts: list[str]) -> list[Record]:
    return [
        answer(id, target=target, text=text.strip(), raw=text)
        for id, text in zip(PROMPTS, texts, strict=True)
    ]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    prompts = list(PROMPTS.values())
    made = []
    for name, options in (
        ("ref", {"dtype": "float32"}),
        ("honest", {"dtype": "bfloat16"}),
        ("coarse", {"quantize": "int4"}),
    ):
        model = LocalModel.load("demo", device="cpu", **options)  # type: ignore[arg-type]
        made += answers(name, sample_texts(model, prompts, GREEDY, seed=0))
        if name == "ref":
            chat = [f"Alice: Write a paragraph about {subject}.\nBob:" for subject in SUBJECTS]
            made += answers("template", sample_texts(model, chat, GREEDY, seed=0))
    made += answers("unrelated", [f" No {subject} today, sorry." for subject in SUBJECTS])
    made += [failure(id, target="broken") for id in PROMPTS]
    return made


def test_numerics_is_distinguished_from_quantization_and_another_template(
    records: list[Record],
) -> None:
    run = run_of(records)
    run.info["configuration"].update(prompts=PROMPTS, max_tokens=40)
    found = greedy_regrets(run, Loader(Weights(model="demo", device="cpu")))
    assert set(found) == {"ref", "honest", "coarse", "template", "unrelated"}
    assert found["ref"]["off"] == 0
    assert {name for name, one in found.items() if one["template"]} == {"template"}
    assert found["template"]["template"] == "chat"
    assert 0.01 <= found["ref"]["tie"] < 0.5
    report = build(replace(run, identity={"regret": found}), estimating_tokenizer())
    causes = {name: t.diagnosis.cause for name, t in report.targets.items() if t.diagnosis}
    assert causes["honest"] == "numerics"
    assert causes["coarse"] in ("another precision", "another model")
    assert causes["template"] == "another template"
    assert causes["unrelated"] == "beginning"
    blind = build(run, estimating_tokenizer())
    for name in ("template", "unrelated"):
        diagnosis = blind.targets[name].diagnosis
        assert diagnosis is not None
        assert diagnosis.cause == "beginning"
        assert diagnosis.sentence.startswith(
            "Answers differ from the first tokens; the cause is unknown without local weights."
        )
    assert "broken" not in causes


def test_a_run_without_greedy_answers_has_nothing_to_score() -> None:
    run = run_of([failure("p", target="t")])
    assert greedy_regrets(run, Loader(Weights(model="demo", device="cpu"))) == {}
