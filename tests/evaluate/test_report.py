"""The report of an evaluation from its folder, and on the command line."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from phi2sdk.cli.app import app
from phi2sdk.config import Target
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate import Evaluation, EvaluationSession, evaluate
from phi2sdk.evaluate.report import report_of
from phi2sdk.report.evaluation_files import ShownEvaluation
from phi2sdk.report.evaluation_schema import EvaluationReport
from phi2sdk.report.requirements import Requirement
from tests.evaluate.conftest import LOCAL

TASK = "demo_yes_no"
RULE = f"evaluations.{TASK}.local.accuracy.value > 0.99"


@pytest.fixture(scope="module")
def made(targets: Mapping[str, Target], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """An evaluation of two targets, with a requirement that fails."""
    both = [targets["openai"], LOCAL]
    out = tmp_path_factory.mktemp("evaluate") / "run"
    rules = [Requirement.parse(RULE)]
    return asyncio.run(evaluate(both, TASK, out, limit=30, requirements=rules))


def report(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    error = "" if done.exception is None else str(done.exception)
    return done.exit_code, done.stdout, error


def outcomes(found: EvaluationReport) -> Sequence[str]:
    return [one.outcome for one in found.requirements]


def test_an_evaluation_ends_with_its_report(made: Evaluation) -> None:
    files = {path.name for path in made.folder.iterdir()}
    assert {"report.json", "report.html", "report.md", "junit.xml"} <= files
    written = ShownEvaluation.model_validate_json((made.folder / "report.json").read_bytes())
    assert written == made.report
    assert written.run.complete
    assert written.run.reference == "openai"
    assert written.run.tasks == {TASK: ("openai", "local")}
    assert (written.targets["openai"].simulated, written.targets["local"].simulated) == (
        True,
        False,
    )
    pair = written.evaluations[TASK]["local"].comparisons["openai"]
    assert (pair.items, pair.only_this, pair.only_other, pair.verdict) == (30, 0, 0, "not shown")
    assert outcomes(written) == ["fails"]


def test_the_report_is_built_again_from_the_folder_alone(made: Evaluation) -> None:
    before = (made.folder / "report.json").read_bytes()
    for name in ("report.html", "report.md", "junit.xml"):
        (made.folder / name).unlink()
    assert report_of(made.folder) == made.report
    assert (made.folder / "report.json").read_bytes() == before
    assert (made.folder / "report.html").exists()


def test_the_command_prints_it_and_its_status_is_that_of_the_requirements(
    made: Evaluation,
) -> None:
    status, said, _ = report(made.folder)
    assert status == 1
    assert f"The requirement '{RULE}' is not met" in said
    assert f"Report: {made.folder / 'report.html'}" in said
    holds = f"evaluations.{TASK}.local.n == 30"
    assert report(made.folder, "--require", holds)[0] == 0
    assert outcomes(report_of(made.folder)) == ["holds"]
    report_of(made.folder, [Requirement.parse(RULE)])


def test_the_command_prints_json(made: Evaluation) -> None:
    status, said, _ = report(made.folder, "--json")
    assert status == 1
    assert json.loads(said)["evaluations"][TASK]["local"]["n"] == 30


def test_options_of_comparisons_are_refused(made: Evaluation) -> None:
    status, _, error = report(made.folder, "--volume", "100")
    assert status == 1
    assert "has only the options --json and --require" in error


@pytest.fixture
def damaged(tmp_path: Path) -> Target:
    """The bundled model with noise in its layers, as large as the weights."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoint_path(), tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    chance = torch.Generator().manual_seed(0)
    for name, matrix in weights.items():
        if matrix.dim() == 2 and "layers" in name:
            noise = torch.randn(matrix.shape, generator=chance) * matrix.float().std()
            weights[name] = (matrix + noise).to(matrix.dtype)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return Target("damaged", "local", {**LOCAL.settings, "model": str(folder)})


async def test_a_planted_target_is_told_from_float32_and_honest_ones_are_not(
    damaged: Target, tmp_path: Path
) -> None:
    half = Target("bfloat16", "local", {**LOCAL.settings, "dtype": "bfloat16"})
    eight = Target("int8", "local", {**half.settings, "quantize": "int8"})
    found = await evaluate([LOCAL, half, eight, damaged], TASK, tmp_path / "run", limit=200)
    pairs = {
        name: one.comparisons["local"]
        for name, one in found.report.evaluations[TASK].items()
        if name != "local"
    }
    assert {name: pair.verdict for name, pair in pairs.items()} == {
        "bfloat16": "not shown",
        "int8": "not shown",
        "damaged": "worse",
    }
    assert pairs["damaged"].difference.value < -0.1
    assert all(pair.items == 200 and pair.difference.low is not None for pair in pairs.values())


async def test_a_requirement_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    rule = Requirement.parse("evaluations.demo_yes_no.locl.accuracy > 0.5")
    session = EvaluationSession(
        targets=[LOCAL], tasks=[TASK], out=tmp_path / "run", limit=1, requirements=[rule]
    )
    async with session:
        with pytest.raises(ConfigurationError, match=r"similar paths: .*local\.accuracy"):
            await session.prepare()
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_a_folder_without_an_evaluation_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"it has no evaluation\.json"):
        report_of(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"phi2sdk": "0.1.0"}')
    with pytest.raises(ConfigurationError, match=r"evaluation\.json is damaged: started"):
        report_of(tmp_path)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"plan": {TASK: "local"}}, "plan"),
        ({"plan": {TASK: ["local", "other"]}}, "other"),
        ({"plan": {"gsm8k": ["local"]}}, TASK),
        ({"configuration": {"limit": "ten", "targets": {}}}, "configuration.targets"),
        ({"machine": {"cpus": [2]}}, "machine.cpus"),
    ],
)
def test_a_document_that_does_not_fit_its_results_is_damaged(
    made: Evaluation, tmp_path: Path, changed: dict[str, object], why: str
) -> None:
    shutil.copy(made.folder / "evaluations.jsonl", tmp_path)
    document = json.loads((made.folder / "evaluation.json").read_text()) | changed
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=rf"evaluation\.json is damaged: .*{why}"):
        report_of(tmp_path)
