"""The clients, synchronous and asynchronous, over real sockets and over scripts."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

from phi2sdk import AsyncPhi2Client, Phi2Client, Sampling, prompts
from phi2sdk.client.loop_thread import LoopThread
from phi2sdk.completion import Completion
from phi2sdk.emulator.faults import Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    Cancelled,
    ConfigurationError,
    InvalidRequest,
    Overloaded,
    Phi2Error,
    UnsupportedParameter,
)
from phi2sdk.testing import Phi2Emulator
from tests.scripted import ScriptedBackend


def phi2_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "phi2sdk"]


def test_a_question_is_answered_over_the_wire_and_cut_at_the_stop(
    phi2_emulator: Phi2Emulator,
) -> None:
    phi2_emulator.answers(" Both guide.\nInstruct: and then")
    with Phi2Client("openai") as phi:
        answer = phi.generate("Compare mathematics and a lighthouse.", max_tokens=50)
    assert answer.text == "Both guide."
    assert answer.finish_reason == "stop"
    call = phi2_emulator.openai.calls[0]
    assert call.authorized
    assert call.prompt == "Instruct: Compare mathematics and a lighthouse.\nOutput:"
    assert answer.receipt.prompt.encode() == call.prompt.encode()


def test_a_stream_gives_text_as_it_comes_and_the_account_at_its_end(
    phi2_emulator: Phi2Emulator,
) -> None:
    phi2_emulator.answers(" one two three")
    with Phi2Client("openai") as phi, phi.stream("count") as stream:
        pieces = [chunk.text for chunk in stream]
    assert len(pieces) > 1
    assert "".join(pieces) == " one two three"
    assert stream.completion.text == "one two three"
    assert stream.completion.timing.ttft is not None


def test_a_stop_on_our_side_cancels_the_call_at_the_provider(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("one END and more")
    phi2_emulator.openai.faults.push(Fault("endless", after=4))
    prompt = prompts.raw("x", stop=["a", "b", "c", "d", "END"])  # the fifth is not sent
    with Phi2Client("openai") as phi, phi.stream(prompt) as stream:
        assert "".join(chunk.text for chunk in stream) == "one "
        call = phi2_emulator.openai.calls[0]
        assert call.ended.wait(10)
    assert call.cancelled
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.raw_text.startswith("one END")


def test_leaving_a_stream_early_cancels_it_and_keeps_what_came(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("word word")
    phi2_emulator.openai.faults.push(Fault("endless", after=1))
    with Phi2Client("openai") as phi:
        stream = phi.stream("x")
        for chunk in stream:
            assert chunk.text
            break
        call = phi2_emulator.openai.calls[0]
        assert call.ended.wait(10)
        assert call.cancelled
        assert stream.completion.finish_reason == "cancelled"
        assert stream.completion.text.startswith("word")


async def test_the_synchronous_client_works_where_a_loop_is_running() -> None:
    with Phi2Client(ScriptedBackend(["yes"])) as phi:
        assert phi.generate("x").text == "yes"
        assert [chunk.text for chunk in phi.stream("x")] == ["yes"]


def test_all_synchronous_clients_share_one_thread_that_ends_with_the_last() -> None:
    first, second = Phi2Client(ScriptedBackend(["1"])), Phi2Client(ScriptedBackend(["2"]))
    assert phi2_threads() == []
    assert (first.generate("x").text, second.generate("x").text) == ("1", "2")
    assert phi2_threads() == ["phi2sdk"]
    first.close()
    assert phi2_threads() == ["phi2sdk"]
    second.close()
    assert phi2_threads() == []


def test_closing_twice_is_harmless_and_using_a_closed_client_is_an_error() -> None:
    phi = Phi2Client(ScriptedBackend(["x"]))
    phi.close()
    phi.close()
    with pytest.raises(ConfigurationError, match="closed"):
        phi.generate("x")
    assert phi2_threads() == []


async def test_using_a_closed_asynchronous_client_is_an_error() -> None:
    phi = AsyncPhi2Client(ScriptedBackend(["x"]))
    await phi.close()
    await phi.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await phi.generate("x")


def test_many_prompts_come_back_with_their_own_index(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(lambda prompt: prompt.split("tag-")[1].split("\n")[0])
    with Phi2Client("openai") as phi:
        asked = [f"say tag-{i}" for i in range(40)]
        answers = dict(phi.generate_many(asked, concurrency=8))
    assert {i: str(answer) for i, answer in answers.items()} == {i: str(i) for i in range(40)}


async def test_no_more_requests_run_at_once_than_allowed() -> None:
    gate, running, peak = asyncio.Event(), 0, 0

    class Counting(ScriptedBackend):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            if running == 3:
                gate.set()
            await gate.wait()
            async for event in super().stream(request):
                yield event
            running -= 1

    async with AsyncPhi2Client(Counting(["x"])) as phi:
        got = [i async for i, _ in phi.generate_many(["p"] * 10, concurrency=3)]
    assert sorted(got) == list(range(10))
    assert peak == 3


async def test_the_first_failure_of_many_cancels_the_rest_and_is_raised() -> None:
    never = asyncio.Event()
    backend = ScriptedBackend([never], [InvalidRequest("no")])
    async with AsyncPhi2Client(backend) as phi:
        with pytest.raises(InvalidRequest):
            async for _ in phi.generate_many(["a", "b"], concurrency=2):
                pass
    assert backend.closed_early == 1


@pytest.mark.parametrize("single", ["Explain", b"Explain", prompts.instruct("Explain")], ids=type)
async def test_generate_many_refuses_a_single_prompt_before_anything_is_sent(single: Any) -> None:
    backend = ScriptedBackend(["one"])
    said = r"takes several prompts, not one \w+\. Pass a list of prompts, or use generate"
    async with AsyncPhi2Client(backend) as phi:
        with pytest.raises(InvalidRequest, match=said):
            phi.generate_many(single)
    with Phi2Client(backend) as sync, pytest.raises(InvalidRequest, match=said):
        sync.generate_many(single)
    assert backend.requests == []


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("generate", "x"),
        ("stream", "x"),
        ("generate_many", ["x"]),
        ("summarize", "x"),
        ("explain", Sampling()),
    ],
)
def test_every_method_suggests_the_nearest_name_for_an_unknown_parameter(
    method: str, given: Any
) -> None:
    backend = ScriptedBackend(["one"])
    with Phi2Client(backend) as phi:
        for wrong, right in (("max_token", "max_tokens"), ("temprature", "temperature")):
            with pytest.raises(
                InvalidRequest, match=rf"parameter {wrong}\. Did you mean {right}\?"
            ):
                getattr(phi, method)(given, **{wrong: 5})
        with pytest.raises(InvalidRequest, match=r"no sampling parameter q\. The parameters are "):
            getattr(phi, method)(given, q=5)
    assert backend.requests == []


async def test_failures_can_be_returned_instead_of_answers() -> None:
    backend = ScriptedBackend(["one"], [InvalidRequest("no")], ["three"])
    async with AsyncPhi2Client(backend) as phi:
        got = dict(
            [x async for x in phi.generate_many([*"abc"], concurrency=1, return_errors=True)]
        )
    assert [type(got[i]) for i in range(3)] == [Completion, InvalidRequest, Completion]


async def test_cancelling_the_task_passes_through_untouched() -> None:
    backend = ScriptedBackend(["a", asyncio.Event()])
    async with AsyncPhi2Client(backend) as phi:
        stream = phi.stream("x")
        chunks = aiter(stream)
        assert (await anext(chunks)).text == "a"
        task = asyncio.ensure_future(anext(chunks))
        await asyncio.wait([task], timeout=0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert backend.closed_early == 1


def test_the_synchronous_client_raises_cancelled_when_its_loop_cancels() -> None:
    started = threading.Event()
    never = asyncio.Event()

    class Waiting(ScriptedBackend):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            started.set()
            async for event in super().stream(request):
                yield event

    phi = Phi2Client(Waiting([never]))
    thread = phi._loop()

    def cancel_all() -> None:
        started.wait(10)
        thread.loop.call_soon_threadsafe(
            lambda: [task.cancel() for task in asyncio.all_tasks(thread.loop)]
        )

    canceller = threading.Thread(target=cancel_all)
    canceller.start()
    with pytest.raises(Cancelled):
        phi.generate("x")
    canceller.join()
    phi.close()


async def test_an_error_in_a_stream_keeps_the_text_so_far() -> None:
    backend = ScriptedBackend(["half ", "an answer", Overloaded("broke")])
    async with AsyncPhi2Client(backend) as phi:
        with pytest.raises(Overloaded) as caught:
            async for _ in phi.stream("x"):
                pass
    assert caught.value.partial == "half an answer"
    assert caught.value.attempts == 1


def test_an_error_in_a_synchronous_stream_comes_after_the_chunks_before_it() -> None:
    got: list[str] = []
    with Phi2Client(ScriptedBackend(["half", Overloaded("broke")])) as phi:
        with pytest.raises(Overloaded):
            got.extend(chunk.text for chunk in phi.stream("x"))
        with pytest.raises(RuntimeError, match="inside its own event loop"):
            phi._loop().run(_call_from_inside(phi))


async def _call_from_inside(phi: Phi2Client) -> None:
    phi.generate("x")


def test_a_long_stream_does_not_run_ahead_of_a_slow_reader_without_bound() -> None:
    backend = ScriptedBackend([str(i) for i in range(5000)])
    with Phi2Client(backend) as phi:
        pieces = []
        for chunk in phi.stream("x"):
            pieces.append(chunk.text)
    assert pieces == [str(i) for i in range(5000)]


def test_settings_may_be_given_by_hand(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("ok")
    url, key = f"{phi2_emulator.openai.url}/v1", phi2_emulator.key
    with Phi2Client("openai", base_url=url, api_key=key, model="microsoft/phi-2") as phi:
        assert phi.generate("x").text == "ok"


def test_a_wrong_key_is_named_and_never_shown(phi2_emulator: Phi2Emulator) -> None:
    with Phi2Client("openai", api_key="sk-canary") as phi:
        with pytest.raises(AuthenticationFailed) as caught:
            phi.generate("x")
        shown = f"{caught.value} {caught.value!r} {phi!r} {vars(caught.value)}"
    assert caught.value.status == 401
    assert "canary" not in shown


def test_an_unknown_setting_or_target_or_parameter_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no setting colour\. Use one of .*base_url"):
        Phi2Client("openai", base_url="http://127.0.0.1:1", colour="red")
    with pytest.raises(ConfigurationError, match="no target 'mars': use one of local, azure"):
        Phi2Client("mars")
    unknown: Any = {"topk": 3}
    with Phi2Client(ScriptedBackend(["x"])) as phi:
        with pytest.raises(InvalidRequest, match=r"parameter topk\. Did you mean top_k\?"):
            phi.generate("x", **unknown)
        with pytest.raises(InvalidRequest, match="temperature"):
            phi.generate("x", temperature=-1)


def test_a_missing_setting_names_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"needs base_url.*OPENAI_BASE_URL"):
        Phi2Client("openai")


def test_explain_tells_the_fate_of_each_parameter_without_a_call(
    phi2_emulator: Phi2Emulator,
) -> None:
    with Phi2Client("openai", server="vllm") as phi:
        receipt = phi.explain(Sampling(temperature=0.7, top_k=40), "question")
        assert receipt.fate("top_k").wire == {"top_k": 40}
        assert receipt.fate("seed").fate == "neutral"
        assert receipt.prompt == "Instruct: question\nOutput:"
    with (
        Phi2Client("openai", server="openai") as phi,
        pytest.raises(UnsupportedParameter, match="top_k"),
    ):
        phi.explain(temperature=1, top_k=40)
    with Phi2Client("openai", server="openai", on_unsupported="warn") as phi:
        with pytest.warns(UserWarning, match="top_k is ignored"):
            receipt = phi.explain(temperature=1, top_k=40)
        assert receipt.fate("top_k").fate == "unsupported"
    assert phi2_emulator.openai.calls == []


def test_several_targets_fall_back_in_order(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("from the second")
    broken = ScriptedBackend([Overloaded("busy")], target="broken")
    with Phi2Client([broken, "openai"], attempts=1) as phi:
        answer = phi.generate("x")
    assert answer.text == "from the second"
    assert [a.target for a in answer.receipt.attempts] == ["broken", "openai"]
    assert answer.receipt.attempts[0].error == "Overloaded"


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    public = {
        name
        for name, member in inspect.getmembers(AsyncPhi2Client, inspect.isfunction)
        if not name.startswith("_")
    }
    asynchronous_only = {"events", "finish", "request"}
    for name in public - asynchronous_only:
        ours = inspect.signature(getattr(Phi2Client, name))
        theirs = inspect.signature(getattr(AsyncPhi2Client, name))
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
    assert inspect.signature(Phi2Client) == inspect.signature(AsyncPhi2Client)


def test_the_loop_thread_survives_many_openings_and_closings() -> None:
    for _ in range(50):
        thread = LoopThread.acquire()
        assert thread.run(_one()) == 1
        thread.release()
    assert phi2_threads() == []


async def _one() -> int:
    return 1


def test_summarize_uses_its_template(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("Short.")
    with Phi2Client("openai") as phi:
        assert phi.summarize("A long paragraph.").text == "Short."
    assert phi2_emulator.openai.calls[0].prompt == prompts.summarize("A long paragraph.").text


def test_a_price_makes_a_cost_with_its_source_and_no_price_makes_none() -> None:
    from phi2sdk.config import Target
    from phi2sdk.pricing import resolve

    price = resolve(
        {
            "model": "per-token",
            "input": 1.0,
            "output": 2.0,
            "source": "a price list",
            "date": "2026-11-01",
        }
    )
    target = Target("priced", "local", price=price)
    phi = AsyncPhi2Client(ScriptedBackend(["a", "b"], target="priced"))
    assert asyncio.run(phi.generate("x")).cost is None
    phi._prices[target.name] = target.price
    phi = AsyncPhi2Client(ScriptedBackend(["a", "b"], target="priced"))
    phi._prices[target.name] = target.price
    cost = asyncio.run(phi.generate("x")).cost
    assert cost is not None
    assert cost.usd == pytest.approx((7 * 1.0 + 2 * 2.0) / 1e6)
    assert (cost.source, cost.date) == ("a price list", "2026-11-01")


def test_errors_keep_their_class() -> None:
    busy = ScriptedBackend([Overloaded("busy")])
    with Phi2Client(busy, attempts=1) as phi, pytest.raises(Phi2Error):
        phi.generate("x")


def test_reading_on_after_the_client_was_closed_is_a_typed_error() -> None:
    backend = ScriptedBackend([str(i) for i in range(2000)])
    phi = Phi2Client(backend)
    chunks = iter(phi.stream("x"))
    assert next(chunks).text == "0"
    phi.close()
    with pytest.raises(Cancelled):
        list(chunks)
    assert phi2_threads() == []


def test_a_closed_client_cannot_be_entered_again() -> None:
    phi = Phi2Client(ScriptedBackend(["x"]))
    phi.close()
    with pytest.raises(ConfigurationError, match="closed"):
        phi.__enter__()


@pytest.mark.parametrize("wrong", [None, ["a", "b"], 7])
def test_an_invalid_prompt_is_refused_with_the_right_method_named(wrong: object) -> None:
    with (
        Phi2Client(ScriptedBackend(["x"])) as phi,
        pytest.raises(InvalidRequest, match=r"a prompt is a string or a Prompt.*generate_many"),
    ):
        phi.generate(wrong)  # type: ignore[arg-type]


def test_an_invalid_target_and_an_invalid_timeout_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not NoneType"):
        Phi2Client(None)  # type: ignore[arg-type]
    with Phi2Client(ScriptedBackend(["x"]), timeout=0) as phi:
        with pytest.raises(InvalidRequest, match="must be above 0"):
            phi.generate("x")
        assert phi.generate("x", timeout=5).text == "x"


def test_answers_counts_and_errors_show_themselves_in_one_short_line() -> None:
    with Phi2Client(ScriptedBackend(["word " * 200])) as phi:
        answer = phi.generate("x")
        shown = repr(answer)
    assert shown.startswith("<Completion 'word word")
    assert "by scripted, 7 + 1 tokens, " in shown
    assert shown.endswith(" s, finish_reason=stop>")
    assert len(shown) < 160
    assert str(answer.usage.output_billed) == "1"
    assert repr(Overloaded("busy", provider="hf")) == "Overloaded('hf: busy')"
