from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import aiohttp
import pytest

from phi2sdk import prompts
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.completion import Request
from phi2sdk.fold import Fold
from phi2sdk.measure import reference_server as reference
from phi2sdk.measure.calibration import calibrate, reference_server_process
from phi2sdk.measure.journal import Journal, read_journal
from phi2sdk.measure.reference_server import Scenario
from phi2sdk.sampling import Sampling

pytestmark = pytest.mark.timed


async def answered(scenario: Scenario, route: str) -> tuple[Fold, reference.Answered]:
    """Return the measured times of one answer, and those of the server."""
    served = reference.Served(scenario)
    server = await asyncio.start_server(served.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = OpenAIBackend(
        base_url=f"http://127.0.0.1:{port}/v1",
        model="reference",
        route=route,  # type: ignore[arg-type]
    )
    account = Fold(Request(prompts.raw("hello"), Sampling(max_tokens=999)))
    async for event in backend.stream(account.request):
        account.take(event)
    await backend.close()
    server.close()
    return account, served.log[0]


@pytest.mark.parametrize("wire", ["http", "grpc", "thread"])
async def test_every_wire_can_be_calibrated(wire: str) -> None:
    (found,) = await calibrate([wire, wire], streams=2)
    assert (found.wire, found.streams) == (wire, 2)
    assert found.n >= 100
    for error in (found.ttft, found.e2e):
        assert 0 <= error.p50 <= error.p99 < 0.5


async def test_a_role_long_before_the_first_content_is_no_first_token() -> None:
    scenario = Scenario(role_at=0.0, first=0.1, gap=0.001, writes=5)
    account, truth = await answered(scenario, "chat")
    timing = account.timing()
    assert timing is not None
    assert timing.ttft is not None
    assert timing.ttft >= 0.1
    assert timing.ttft == pytest.approx((truth.write_ns[0] - truth.read_ns) / 1e9, abs=0.05)


async def test_several_tokens_a_write_stalls_and_bursts_arrive_as_they_left() -> None:
    scenario = Scenario(first=0.01, gap=0.004, writes=8, tokens=3, stall=(4, 0.1), burst=2)
    account, truth = await answered(scenario, "completions")
    assert account.completion().raw_text == "".join(f" w{i:03d}" for i in range(24))
    usage = account.completion().usage
    assert usage.output_billed is not None
    assert usage.output_billed.value == 24
    gaps = [b - a for a, b in zip(truth.write_ns, truth.write_ns[1:], strict=False)]
    assert max(gaps) / 1e9 == pytest.approx(0.108, abs=0.05)
    assert gaps.index(max(gaps)) == 3


async def test_a_reference_server_lives_in_a_process_of_its_own_and_ends_with_us() -> None:
    async with (
        reference_server_process("phi2sdk.measure.reference_server", Scenario(writes=2)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        async with session.post("/v1/completions", json={"prompt": "x"}) as reply:
            assert b"[DONE]" in await reply.read()
        scenario = json.dumps(asdict(Scenario(writes=1)))
        async with session.get(f"/scenario/{scenario}") as reply:
            assert reply.status == 200
        async with session.get("/log") as reply:
            (row,) = await reply.json()
    assert row["prompt"] == "x"
    assert len(row["write_ns"]) == 2


async def test_a_calibration_is_kept_in_the_journal(tmp_path: Path) -> None:
    (found,) = await calibrate(["thread"])
    with Journal(tmp_path / "r.jsonl") as journal:
        journal.begin("now")
        journal.calibration(asdict(found))
    (kept,) = read_journal(tmp_path / "r.jsonl").calibrations
    assert kept["wire"] == "thread"
    assert kept["ttft"] == {"p50": found.ttft.p50, "p99": found.ttft.p99}
