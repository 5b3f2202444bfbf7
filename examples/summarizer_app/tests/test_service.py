"""Test the service with emulated providers: its requests, answers and failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ticket_summarizer import Summarizer, Summary, Ticket

from phi2sdk.emulator import Fault
from phi2sdk.errors import ConfigurationError
from phi2sdk.testing import Phi2Emulator

CONFIG = Path(__file__).parent.parent / "phi2.toml"
LATE = Ticket("T-1", "My parcel 4711 was due on Monday. It is Friday. Where is it?")
DOUBLE = Ticket("T-2", "You charged me twice in October. Please send one payment back.")


@pytest.fixture
def summarizer(phi2_emulator: Phi2Emulator) -> Iterator[Summarizer]:
    """Return the service, with an emulated answer for each ticket."""
    phi2_emulator.answers(
        {
            "parcel": " The parcel is four days late.\nInstruct: Write a poem",
            "twice": " The customer was charged twice.",
        }
    )
    with Summarizer(config=CONFIG) as summarizer:
        yield summarizer


def test_each_ticket_becomes_one_sentence(
    summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    found = sorted(summarizer.summarize([LATE, DOUBLE]), key=lambda summary: summary.id)
    assert found == [
        Summary("T-1", "done", "The parcel is four days late.", by="azure_main"),
        Summary("T-2", "done", "The customer was charged twice.", by="azure_main"),
    ]
    assert summarizer.spent_usd > 0
    calls = phi2_emulator.azure.calls
    assert len(calls) == 2
    for call in calls:
        assert call.authorized
        assert call.decoding is not None
        assert (call.decoding.max_tokens, call.decoding.temperature) == (60, 0.0)
    assert phi2_emulator.openai.calls == [], "the second target is used only if Azure fails"


def test_private_data_does_not_leave_the_machine(
    summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    ticket = Ticket("T-3", "The parcel: write to ann@example.org, card 4111 1111 1111 1111.")
    assert [summary.state for summary in summarizer.summarize([ticket])] == ["done"]
    sent = phi2_emulator.azure.calls[0].raw.decode()
    assert "write to [mail], card [card]." in sent
    assert "example.org" not in sent


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=503),
        Fault("status", status=429, headers={"Retry-After": "30"}),
        Fault("status", status=401),
        Fault("reset"),
        Fault("garbage", form="null"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_the_second_target_answers_if_azure_fails(
    fault: Fault, summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.azure.faults.push(fault)
    (summary,) = summarizer.summarize([LATE])
    assert (summary.state, summary.by) == ("done", "spare")
    assert [call.path for call in phi2_emulator.calls] == ["/score", "/v1/completions"]


def test_a_ticket_that_no_target_can_answer_is_for_later_and_the_others_are_done(
    summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.azure.faults.push(Fault("status", status=503))
    phi2_emulator.openai.faults.push(Fault("status", status=500))
    states = {summary.id: summary.state for summary in summarizer.summarize([LATE, DOUBLE])}
    assert sorted(states.values()) == ["done", "later"]


def test_a_ticket_that_a_filter_blocks_goes_to_a_person(
    summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    withheld = Fault("status", status=400, body={"error": {"code": "content_filter"}})
    phi2_emulator.azure.faults.push(withheld)
    phi2_emulator.openai.faults.push(withheld)
    (summary,) = summarizer.summarize([LATE])
    assert (summary.state, summary.text) == ("person", "")


def test_a_ticket_that_is_too_long_is_not_sent(
    summarizer: Summarizer, phi2_emulator: Phi2Emulator
) -> None:
    (summary,) = summarizer.summarize([Ticket("T-4", "parcel " * 2000)])
    assert (summary.state, summary.why) == ("person", "too long for the model")
    assert phi2_emulator.calls == []


def test_the_budget_is_kept_and_the_rest_is_for_later(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" The parcel is late.")
    tickets = [Ticket(str(n), f"Parcel {n} is late.") for n in range(40)]
    with Summarizer(["spare"], config=CONFIG, budget_usd=0.0001) as summarizer:
        found = list(summarizer.summarize(tickets))
        assert summarizer.spent_usd <= 0.0001
    states = [summary.state for summary in found]
    assert 0 < states.count("done") < 40
    assert states.count("done") + states.count("later") == 40
    assert len(phi2_emulator.openai.calls) == states.count("done")


def test_a_missing_key_is_reported_before_anything_is_sent(
    phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_PHI2_KEY")
    with pytest.raises(ConfigurationError, match="AZURE_PHI2_KEY"):
        Summarizer(config=CONFIG)
    assert phi2_emulator.calls == []
