from __future__ import annotations

from tests.engine.many import run


async def test_every_answer_among_many_is_the_one_that_it_has_alone() -> None:
    """`python bench/slots.py` asks 10,000."""
    outcome = await run(300, kinds=40, slots=8, concurrency=24)
    assert outcome.requests == 300
    assert outcome.different == ()
    assert outcome.tokens > 1000
