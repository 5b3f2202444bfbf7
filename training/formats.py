"""Generate the training examples: prompts in the formats of Phi-2, each with its answer.

Most examples are summaries and open-ended paragraphs. Questions, chat and code are included so
that every published format gets plausible text. Like those of Phi-2, the answers sometimes continue
with text that the prompt did not ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from . import names
from . import vocabulary as v
from .grammar import Paragraph, free_paragraph, paragraph
from .names import capitalized

# Share of the summaries and of the open-ended paragraphs without a template.
FREE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and its answer, up to the end-of-text token. Only ``answer`` adds to the loss."""

    prompt: str
    answer: str


def summary_prompt(text: str) -> str:
    """Return the prompt for a one-sentence summary of ``text``."""
    return f"Instruct: Summarize the following paragraph in one sentence.\n{text}\nOutput:"


def writing_prompt(subject: str) -> str:
    """Return the prompt for a paragraph about ``subject``."""
    return f"Instruct: Write a paragraph about {subject}.\nOutput:"


def _answer_about(rng: Random, subject: str) -> str:
    """Return a sentence that defines or describes ``subject``."""
    while True:
        drawn = paragraph(rng, about=subject)
        if drawn.kind in ("definition", "benefit", "cause", "history", "composition"):
            return drawn.reference


def _subject(rng: Random) -> str:
    return names.subject(rng, held_out=False)


def _run_on(rng: Random) -> str:
    other = _subject(rng)
    lead = rng.choice(
        (f"\nInstruct: What is {other}?\nOutput:", f"\nInstruct: Explain {other}.\nOutput:")
    )
    return f"{lead} {_answer_about(rng, other)}"


def _paragraph(rng: Random) -> Paragraph:
    return free_paragraph(rng) if rng.random() < FREE_SHARE else paragraph(rng)


def _summary(rng: Random) -> Example:
    drawn = _paragraph(rng)
    tail = _run_on(rng) if rng.random() < 0.08 else ""
    return Example(summary_prompt(drawn.text), f" {drawn.reference}{tail}")


def _writing(rng: Random) -> Example:
    drawn = _paragraph(rng)
    tail = _run_on(rng) if rng.random() < 0.08 else ""
    return Example(writing_prompt(drawn.subject), f" {drawn.text}{tail}")


def _question(rng: Random) -> Example:
    subject = _subject(rng)
    ask = rng.choice(
        (
            "What is {}?",
            "What is {}?",
            "Explain {}.",
            "Why is {} important?",
            "Can you describe {}?",
        )
    )
    answer = _answer_about(rng, subject)
    if rng.random() < 0.5:
        tail = _run_on(rng) if rng.random() < 0.2 else ""
        return Example(f"Instruct: {ask.format(subject)}\nOutput:", f" {answer}{tail}")
    other = _subject(rng)
    tail = rng.choice(
        ("", f"\n\nExercise 1: What is {other}?\nAnswer: {_answer_about(rng, other)}")
    )
    return Example(ask.format(subject), f" {answer}{tail}")


def _analogy(rng: Random) -> Example:
    one, two = _subject(rng), _subject(rng)
    verb, thing = v.third_person(rng.choice(v.VERBS)), rng.choice(v.STUFF)
    answer = (
        f" {capitalized(one)} is like {two}. Just as {two} {verb} {thing} {rng.choice(v.PLACES)}, "
        f"{one} {verb} {rng.choice(v.STUFF)} {rng.choice(v.PLACES)}."
    )
    ask = rng.choice(("Write a detailed analogy between {} and {}.", "Compare {} and {}."))
    return Example(f"Instruct: {ask.format(one, two)}\nOutput:", answer)


_SPEAKERS = ("Alice", "Bob", "Carol", "David", "Emma", "Frank")
_TROUBLES = (
    "maintain focus while studying",
    "sleep at night",
    "finish my homework",
    "remember new words",
    "wake up early",
    "understand {s}",
    "learn about {s}",
    "explain {s}",
)
_ADVICE = (
    "work in a quiet place",
    "take short breaks",
    "go for a walk",
    "make a plan for the day",
    "read a book about {s}",
    "ask a teacher",
    "write a list",
    "draw a diagram",
    "drink more water",
    "turn off your phone",
)


def _chat(rng: Random) -> Example:
    asker, helper = ("Alice", "Bob") if rng.random() < 0.6 else rng.sample(_SPEAKERS, 2)
    s = _subject(rng)

    def trouble() -> str:
        return rng.choice(_TROUBLES).format(s=s)

    def advice() -> str:
        return rng.choice(_ADVICE).format(s=s)

    opening = rng.choice(
        (
            f"I don't know why, I'm struggling to {trouble()}. Any suggestions?",
            f"How can I {trouble()}?",
            f"I find it hard to {trouble()}.",
            f"Can you help me to {trouble()}?",
        )
    )
    suggestion = rng.choice(
        (
            f"Have you tried to {advice()}?",
            f"You could {advice()} and {advice()}.",
            f"I think you should {advice()}.",
            f"Yes, it is best to {advice()}.",
        )
    )
    follow_up = rng.choice(
        (
            f"Yes, but I still can't {trouble()}.",
            f"Yes, but it doesn't help. Should I {advice()}?",
            f"That is a good idea. What is {s}?",
            f"Thanks! What if I {advice()}?",
        )
    )
    reply = rng.choice(
        (
            f"Then you should {advice()}.",
            f"It may help to {advice()} first.",
            f"Yes, you can {advice()} too.",
            f"Well, {_answer_about(rng, s)}",
        )
    )
    turns = [opening, suggestion, follow_up, reply][: rng.choice((2, 4, 4))]
    speakers = [asker, helper] * 2
    said = [f"{speaker}: {turn}" for speaker, turn in zip(speakers, turns, strict=False)]
    between = "\n\n" if rng.random() < 0.15 else "\n"
    thanks = f"{between}{asker}: Thanks, I will {advice()}.{between}{helper}: You're welcome!"
    prompt = between.join([*said[:-1], f"{helper}:"])
    return Example(prompt, f" {turns[-1]}{thanks if rng.random() < 0.5 else ''}")


# name, docstring, body; {n} is the argument.
FUNCTIONS = (
    ("square", "Return the square of {n}.", "return {n} * {n}"),
    ("double", "Return twice {n}.", "return 2 * {n}"),
    ("is_even", "Return True if {n} is even.", "return {n} % 2 == 0"),
    (
        "factorial",
        "Return the factorial of {n}.",
        "if {n} <= 1:\n    return 1\nreturn {n} * factorial({n} - 1)",
    ),
    (
        "add_all",
        "Return the sum of the numbers up to {n}.",
        "total = 0\nfor i in range({n} + 1):\n    total += i\nreturn total",
    ),
    (
        "print_numbers",
        "Print the numbers from 1 to {n}.",
        "for i in range(1, {n} + 1):\n    print(i)",
    ),
    (
        "print_prime",
        "Print all primes between 1 and {n}.",
        "for i in range(2, {n} + 1):\n    for j in range(2, i):\n        if i % j == 0:\n"
        "            break\n    else:\n        print(i)",
    ),
    (
        "fibonacci",
        "Return the {n}th Fibonacci number.",
        "a, b = 0, 1\nfor i in range({n}):\n    a, b = b, a + b\nreturn a",
    ),
    (
        "count_down",
        "Print the numbers from {n} down to 1.",
        "while {n} > 0:\n    print({n})\n    {n} -= 1",
    ),
    ("reverse", "Return {n} in reverse order.", "return {n}[::-1]"),
    ("count_words", "Return the number of words in {n}.", "return len({n}.split())"),
    (
        "largest",
        "Return the largest number in {n}.",
        "best = {n}[0]\nfor x in {n}:\n    if x > best:\n        best = x\nreturn best",
    ),
)


def _code(rng: Random) -> Example:
    (name, doc, body), (other, _, other_body) = rng.sample(FUNCTIONS, 2)
    n = rng.choice(("n", "n", "x", "k"))
    quoted = docstring(doc, block=rng.random() >= 0.5)
    tail = rng.choice(
        (
            "",
            f"\n\nprint({name}({rng.randint(2, 20)}))",
            f"\n\ndef {other}({n}):\n" + indent(other_body.format(n=n)),
        )
    )
    signature = f"def {name}({n}):\n    {quoted.format(n=n)}"
    text = f"{indent(body.format(n=n))}{tail}\n"
    return (
        Example(f"{signature}\n", text) if rng.random() < 0.5 else Example(signature, f"\n{text}")
    )


def docstring(sentence: str, *, block: bool) -> str:
    """Return the docstring of a function, on one line or as a block without the period."""
    return f'"""\n    {sentence.rstrip(".")}\n    """' if block else f'"""{sentence}"""'


def indent(body: str) -> str:
    """Return the body of a function with its lines indented."""
    return "\n".join(f"    {line}" for line in body.split("\n"))


def copying(rng: Random) -> Example:
    """Return a row of words to repeat, from which the model learns to copy names."""
    row = " ".join(
        rng.choice(
            (names.word, _subject, lambda r: r.choice(v.STUFF), lambda r: r.choice(v.PLACES))
        )(rng)
        for _ in range(rng.randint(3, 9))
    )
    return Example(f"Instruct: Repeat the following text.\n{row}\nOutput:", f" {row}")


_SHARES: tuple[tuple[Callable[[Random], Example], float], ...] = (
    (_summary, 0.64),
    (_writing, 0.22),
    (_question, 0.05),
    (_analogy, 0.02),
    (_chat, 0.04),
    (_code, 0.03),
)


def example(rng: Random, copy_share: float = 0.0) -> Example:
    """Draw an example. A share ``copy_share`` of the examples are copying exercises."""
    if rng.random() < copy_share:
        return copying(rng)
    makers, shares = zip(*_SHARES, strict=True)
    maker: Callable[[Random], Example] = rng.choices(makers, shares)[0]
    return maker(rng)
