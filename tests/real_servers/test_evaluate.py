"""One evaluation on the local model and a real server."""

from __future__ import annotations

from pathlib import Path

from phi2sdk.config import Target
from phi2sdk.evaluate import evaluate
from tests.real_servers.servers import RealServer

LOCAL = Target("local", "local", {"model": "demo", "dtype": "float32", "device": "cpu"})
CHOOSE, WRITE = "demo_multiple_choice", "demo_exact_match"
LIMIT = 40


async def test_a_server_and_the_local_model_get_the_same_items_right(
    server: RealServer, tmp_path: Path
) -> None:
    """By log-likelihoods if the server tells them, and by the written choice if it does not."""
    far = Target("far", "openai", server.settings)
    made = await evaluate([LOCAL, far], [CHOOSE, WRITE], tmp_path / "run", limit=LIMIT)
    assert (made.failed, made.stopped) == (0, None)
    results = {(one.task, one.target): one for one in made.results}
    tells = (CHOOSE, "far") in results
    assert tells == (server.kind.server == "vllm")
    compared = CHOOSE if tells else f"{CHOOSE}_generative"
    for task in (compared, WRITE):
        own, there = results[task, "local"], results[task, "far"]
        assert there.items == own.items
        assert len(there.items) == LIMIT
    assert 0.3 < results[WRITE, "far"].aggregate["exact_match"] <= 1
