"""Events fold into an account that hides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phi2sdk import prompts
from phi2sdk.completion import (
    Chunk,
    Count,
    Done,
    Opened,
    Receipt,
    Request,
    Retrying,
    Sent,
    ServerSoftware,
    Usage,
)
from phi2sdk.errors import BadResponse, Overloaded, ProviderFault
from phi2sdk.fold import Fold
from phi2sdk.sampling import Dialect, Rule, Sampling, translate

REQUEST = Request(prompts.instruct("x"), Sampling())
RECEIPT = Receipt("target", "provider", "route", REQUEST.prompt.text)
S = 1_000_000_000


def folded(*events: object, request: Request = REQUEST) -> Fold:
    account = Fold(request)
    for event in events:
        account.take(event)  # type: ignore[arg-type]
    return account


def test_timing_counts_only_chunks_with_content() -> None:
    done = folded(
        Sent(1 * S, RECEIPT, True),
        Opened(2 * S, "id-1", "phi-2"),
        Chunk("", "", 3 * S),
        Chunk(" a", " a", 4 * S, tokens=1),
        Chunk("", "\nIn", 5 * S, tokens=1),
        Chunk("\nIn", "", 5 * S),
        Done(9 * S, "stop"),
    ).completion()
    assert done.timing.ttft == 3.0
    assert done.timing.e2e == 4.0
    assert done.timing.chunks == ((4 * S, 2, 1), (5 * S, 3, 1))
    assert (done.text, done.raw_text) == ("a\nIn", " a\nIn")
    assert (done.request_id, done.model) == ("id-1", "phi-2")


def test_ttft_is_null_where_nothing_was_streamed() -> None:
    done = folded(Sent(0, RECEIPT, False), Chunk("a", "a", 2 * S), Done(2 * S, "stop")).completion()
    assert done.timing.ttft is None
    assert done.timing.e2e == 2.0


def test_failed_attempts_stay_on_the_receipt_with_their_waits() -> None:
    done = folded(
        Sent(0, RECEIPT, True),
        Retrying(1 * S, Overloaded("busy", status=503), 0.25),
        Sent(2 * S, RECEIPT, True),
        Chunk("a", "a", 3 * S),
        Done(4 * S, "length"),
    ).completion()
    first, second = done.receipt.attempts
    assert (first.error, first.status, first.wait) == ("Overloaded", 503, 0.25)
    assert second.error is None
    assert done.receipt.waited == 0.25
    assert done.timing.e2e == 1.0, "the attempt that answered is timed by itself"


def test_a_failed_request_keeps_its_account_and_the_text_so_far() -> None:
    account = folded(Sent(0, RECEIPT, True), Chunk("half", "half", 1 * S))
    error = ProviderFault("broke")
    account.fail(error, 2 * S)
    assert error.partial == "half"
    assert error.attempts == 1
    receipt = account.receipt()
    assert receipt is not None
    assert receipt.attempts[0].error == "ProviderFault"


def test_a_stream_without_an_end_is_a_bad_response() -> None:
    with pytest.raises(BadResponse, match="without a final event"):
        folded(Sent(0, RECEIPT, True), Chunk("a", "a", 1)).completion()


def test_kept_tokens_are_exact_without_a_cut_and_a_marked_estimate_after_one() -> None:
    usage = Usage(output_billed=Count(10))
    whole = folded(Sent(0, RECEIPT, False), Chunk("abcd", "abcd", 1), Done(1, "stop", usage))
    assert whole.completion().usage.output_kept == Count(10)
    cut = folded(Sent(0, RECEIPT, False), Chunk("ab", "abcd", 1), Done(1, "stop", usage))
    assert cut.completion().usage.output_kept == Count(5, estimated=True)


def test_tokens_are_counted_from_chunks_where_the_provider_gives_no_usage() -> None:
    done = folded(
        Sent(0, RECEIPT, True),
        Chunk("a", "a", 1, tokens=1),
        Chunk("b", "b", 2, tokens=2),
        Done(3, "stop"),
    ).completion()
    assert done.usage.output_billed == Count(3)


def test_the_first_lines_indentation_of_code_is_kept() -> None:
    request = Request(prompts.code("def f():\n"), Sampling())
    events = (
        Sent(0, RECEIPT, False),
        Chunk("    return 1\n", "    return 1\n", 1),
        Done(1, "stop"),
    )
    assert folded(*events, request=request).completion().text == "    return 1"
    assert folded(*events).completion().text == "return 1"


def test_prompt_tokens_told_at_the_start_survive_a_cut() -> None:
    done = folded(
        Sent(0, RECEIPT, True),
        Opened(1, input=Count(7)),
        Chunk("a", "a\nInstruct:", 2, tokens=2),
        Done(2, "stop", cut=True),
    ).completion()
    assert done.usage.input == Count(7)
    assert done.usage.output_billed == Count(2, estimated=True)


def test_an_attempt_that_failed_before_a_call_is_no_call() -> None:
    """If there is no token or the endpoint is paused, nothing is sent."""
    early = Retrying(1 * S, Overloaded("waking"), 1.0)
    done = folded(early, Sent(2 * S, RECEIPT, False), Done(3 * S, "stop")).completion()
    assert [a.error for a in done.receipt.attempts] == [None]
    between = folded(
        Sent(0, RECEIPT, True),
        Retrying(1 * S, ProviderFault("x", status=500), 0.0),
        Retrying(2 * S, Overloaded("waking"), 0.0),
    )
    between.fail(Overloaded("waking"), 3 * S)
    assert [a.error for a in between.attempts] == ["ProviderFault"]


def test_the_reprs_of_a_receipt_and_a_completion_are_short_whatever_was_sent() -> None:
    long = "word \x1b[31m" * 5000
    dialect = Dialect("openai.completions (openai)", {"max_tokens": Rule("max_tokens")})
    _, fates = translate(
        Sampling(temperature=0.7, top_k=20), dialect, stops=(long,), on_unsupported="warn"
    )
    software = ServerSoftware("unknown", "not recognized")
    receipt = Receipt(long, "openai", dialect.name, long, parameters=fates, server=software)
    account = Fold(Request(prompts.raw(long), Sampling()))
    account.take(Sent(1 * S, receipt, True))
    account.take(Chunk(long, long, 2 * S))
    account.take(Done(3 * S, "stop", Usage(Count(5), Count(7))))
    completion = account.completion()
    for shown in (repr(completion), repr(completion.receipt)):
        assert len(shown) < 600
        assert "\x1b" not in shown
    assert "5 + 7 tokens, 1 s, finish_reason=stop" in repr(completion)
    assert repr(replace(receipt, target="mine", prompt="short")) == (
        "<Receipt to mine by openai.completions (openai), prompt 'short' (5 characters), "
        "sent max_tokens=256, not sent temperature, top_k, server unknown, attempts 0>"
    )
