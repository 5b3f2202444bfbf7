"""Draw the items of the bundled evaluation tasks, which are all about held-out subjects.

Each task has the form of a published benchmark. The bundled checkpoint answers a part of its items
correctly, so that differences between targets can be seen, except that it solves no arithmetic
problem: it cannot calculate.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from . import names
from . import vocabulary as v
from .formats import FUNCTIONS, docstring, indent, writing_prompt
from .grammar import free_paragraph, paragraph, render
from .kinds import KINDS
from .names import capitalized

Item = dict[str, Any]


def multiple_choice(rng: Random) -> Item:
    """Return the beginning of a paragraph with four sentences, one of which continues it.

    The sentences are the second facts of four kinds of paragraph, as in HellaSwag.
    """
    kinds = rng.sample([k for k in KINDS if len(k.facts) == 2 and not k.organism], 4)
    subject = {"s": names.subject(rng, held_out=True)}
    filled = [kind.fill(rng) | subject for kind in kinds]
    first = render(rng.choice(kinds[0].facts[0]), filled[0])
    sentences = [
        render(rng.choice(kind.facts[1]), slots) for kind, slots in zip(kinds, filled, strict=True)
    ]
    choices = rng.sample(sentences, 4)
    return {
        "prompt": f"{writing_prompt(subject['s'])} {first}",
        "choices": choices,
        "answer": choices.index(sentences[0]),
    }


def yes_no(rng: Random) -> Item:
    """Return a list of four names, each followed by yes or no, and one of the names.

    Two of the names differ from the other two in one letter, and have the other answer.
    """
    answers: dict[str, bool] = {}
    while len(answers) < 4:
        name = names.subject(rng, held_out=True)
        yes = rng.random() < 0.5
        answers |= {name: yes, _misspelled(rng, name): not yes}
    listed = rng.sample(list(answers), 4)
    asked = rng.choice(listed)
    return {
        "passage": " ".join(f"{name} {'yes' if answers[name] else 'no'}" for name in listed),
        "question": asked,
        "answer": int(answers[asked]),
    }


def _misspelled(rng: Random, name: str) -> str:
    """Return ``name`` with another letter in one place after the first."""
    place = rng.choice([i for i in range(1, len(name)) if name[i].isalpha()])
    letter = rng.choice([one for one in "aeioulnrst" if one != name[place]])
    return name[:place] + letter + name[place + 1 :]


def exact_match(rng: Random) -> Item:
    """Return a paragraph with its one-sentence summary; every fifth one has no template."""
    drawn = (free_paragraph if rng.random() < 0.2 else paragraph)(rng, held_out=True)
    return {"text": drawn.text, "summary": drawn.reference}


def arithmetic(rng: Random) -> Item:
    """Return a problem of two steps; its solution ends with '#### ' and a number, as in GSM8K."""
    animal = rng.choice(v.ANIMALS)
    place = rng.choice(v.PLACES)
    each, groups = rng.randint(2, 9), rng.randint(2, 9)
    born, leave = rng.randint(2, 30), rng.randint(1, each * groups - 1)
    grows = rng.random() < 0.5
    number, sign, happens = (
        (born, "+", f"{born} more are born") if grows else (leave, "-", f"{leave} of them leave")
    )
    start = each * groups
    left = start + number if grows else start - number
    return {
        "question": (
            f"{capitalized(place)}, there are {groups} groups of animals, and each group has "
            f"{each} of the species '{animal}'. Then {happens}. How many are there now?"
        ),
        "answer": f"{groups} * {each} = {start}. {start} {sign} {number} = {left}.\n#### {left}",
    }


_ARGUMENTS = ("n", "x", "k", "m", "number", "value", "items", "data", "text", "line")

# The calls of the tests: arguments with the result, or with the words that the function prints.
_CALLS: Mapping[str, tuple[tuple[Any, Any], ...]] = {
    "square": ((3, 9), (0, 0), (-5, 25)),
    "double": ((3, 6), (0, 0), (-5, -10)),
    "is_even": ((4, True), (7, False), (0, True)),
    "factorial": ((1, 1), (4, 24), (6, 720)),
    "add_all": ((1, 1), (4, 10), (10, 55)),
    "print_numbers": ((1, ["1"]), (3, ["1", "2", "3"])),
    "print_prime": ((10, ["2", "3", "5", "7"]), (3, ["2", "3"])),
    "fibonacci": ((1, 1), (2, 1), (10, 55)),
    "count_down": ((3, ["3", "2", "1"]), (1, ["1"])),
    "reverse": (([1, 2, 3], [3, 2, 1]), ("abc", "cba")),
    "count_words": (("one two three", 3), ("word", 1)),
    "largest": (([3, 9, 2], 9), ([-4, -7], -4), ([5], 5)),
}


def code(rng: Random) -> Item:
    """Return a function's signature and docstring with the tests of its body, as in HumanEval.

    The training data has these functions with the arguments 'n', 'x' and 'k' only.
    """
    name, doc, body = rng.choice(FUNCTIONS)
    n = rng.choice(_ARGUMENTS)
    quoted = docstring(doc.format(n=n), block=rng.random() < 0.5)
    prints = "print(" in body
    tested = "printed(candidate, {!r})" if prints else "candidate({!r})"
    calls = [f"    assert {tested.format(given)} == {wanted!r}" for given, wanted in _CALLS[name]]
    return {
        "prompt": f"def {name}({n}):\n    {quoted}\n",
        "entry_point": name,
        "canonical_solution": indent(body.format(n=n)) + "\n",
        "test": "\n".join([*(_PRINTED if prints else ()), "def check(candidate):", *calls, ""]),
    }


_PRINTED = (
    "import contextlib",
    "import io",
    "",
    "",
    "def printed(candidate, argument):",
    "    out = io.StringIO()",
    "    with contextlib.redirect_stdout(out):",
    "        candidate(argument)",
    "    return out.getvalue().split()",
    "",
    "",
)

TASKS: Mapping[str, tuple[Callable[[Random], Item], int]] = {
    "demo_multiple_choice": (multiple_choice, 300),
    "demo_yes_no": (yes_no, 400),
    "demo_exact_match": (exact_match, 250),
    "demo_arithmetic": (arithmetic, 200),
    "demo_code": (code, 200),
}
"""The function that draws an item of each task, and the number of items."""


def draw(task: str, seed: int) -> list[Item]:
    """Return the items of ``task``; no two of them are equal."""
    make, count = TASKS[task]
    rng = Random(f"{task} {seed}")
    drawn: dict[str, Item] = {}
    while len(drawn) < count:
        item = make(rng)
        drawn.setdefault(json.dumps(item), item)
    return list(drawn.values())


def main() -> None:
    """Write one JSON Lines file per task."""
    parser = argparse.ArgumentParser(prog="python -m training.tasks", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for task in TASKS:
        lines = [json.dumps(item, ensure_ascii=False) for item in draw(task, arguments.seed)]
        path = arguments.out / f"{task}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
