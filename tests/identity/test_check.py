"""Weights that cannot be used are refused before a request is sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from phi2sdk.compare import IdentityCheck, Settings, compare
from phi2sdk.config import Target
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.testing import Phi2Emulator

REASON = r"a different vocabulary from .*No request was sent"
ONE = Workload("p.txt", (Item("1", "Tides are the rise of water."),))


@pytest.fixture
def suspect(tmp_path: Path) -> Path:
    """The bundled checkpoint with two tokens exchanged: as many tokens, and other ids."""
    folder = tmp_path / "suspect"
    shutil.copytree(checkpoint_path(), folder)
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = document["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.__getitem__)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_a_suspect_with_another_vocabulary_is_refused(suspect: Path) -> None:
    with pytest.raises(ConfigurationError, match=REASON):
        IdentityCheck("demo", others=[suspect])


def test_a_suspect_with_the_same_vocabulary_is_accepted() -> None:
    IdentityCheck("demo", others=[checkpoint_path()]).check({})


async def test_nothing_is_sent_where_the_reference_weights_are_known_from_a_target_only(
    suspect: Path, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    local = Target("local", "local", {"model": "demo", "dtype": "float32", "device": "cpu"})
    with pytest.raises(ConfigurationError, match=REASON):
        await compare(
            ONE,
            [local, "openai"],
            out=tmp_path / "run",
            settings=Settings(repetitions=1, warmup=0, calibrate=False, identity=4),
            identity=IdentityCheck(others=[suspect]),
        )
    assert phi2_emulator.calls == []
    assert not (tmp_path / "run").exists()
