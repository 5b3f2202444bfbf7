"""Which of a target's sampled answers can be scored, and why the others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.measure.records import Record
from phi2sdk.prompts import END_OF_TEXT

__all__ = ["Answers", "leading_space", "usable"]

Encode = Callable[[str], list[int]]

MOSTLY = 0.9
"""From this share on, a habit: of answers to begin with white space, or not to."""
COMPARABLE = 0.5
"""Where fewer of a provider's token counts fit our own, they count something else."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A target's answers that can be scored, and what became of the others.

    Attributes:
        prompts: Their prompts' ids.
        texts: As received, what a provider trimmed put back.
        ids: As tokens.
        left_out: How many were not used, by cause.
        restored: The white space that was put back in front of each; ``None``: none was missing.
        counts_ignored: The provider's token counts fit too few texts to mean tokens of this model.
        wrapped: The route wraps prompts in a template of its own.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    left_out: Mapping[str, int]
    restored: str | None = None
    counts_ignored: bool = False
    wrapped: bool = False

    def by_prompt(
        self, cap: int | None = None, decode: Callable[[list[int]], str] | None = None
    ) -> dict[str, list[str]]:
        """The texts of each prompt; with a cap, of their first so many tokens."""
        found: dict[str, list[str]] = {}
        for prompt, text, ids in zip(self.prompts, self.texts, self.ids, strict=True):
            if cap is not None and decode is not None and len(ids) > cap:
                text = decode(list(ids[:cap]))
            found.setdefault(prompt, []).append(text)
        return found


def leading_space(texts: Sequence[str]) -> str | None:
    """The white space with which nearly all of a model's own answers begin, if there is one."""
    spaces = Counter(text[: len(text) - len(text.lstrip())] for text in texts)
    if not spaces:
        return None
    space, count = spaces.most_common(1)[0]
    return space if space and count >= MOSTLY * len(texts) else None


def usable(records: Sequence[Record], encode: Encode, *, leading: str | None = None) -> Answers:
    """What can be scored of a target's sampled answers.

    Left out are ``failed`` requests, ``filtered`` and ``empty`` answers, and texts that do ``not
    re-tokenise``: those whose number of tokens is not the one that the provider counted (which may
    count end-of-text too), and those with a character that was cut in two.

    Args:
        records: The target's, of the sampled arm.
        encode: The reference model's tokenizer.
        leading: White space with which the reference's own answers begin; put back where the
            target's answers have none.
    """
    left_out: Counter[str] = Counter()
    kept: list[tuple[Record, str]] = []
    for record in records:
        text, cause = _text(record)
        if cause is None:
            kept.append((record, text))
        else:
            left_out[cause] += 1
    texts = [text for _, text in kept]
    restored = leading if leading is not None and _trimmed(texts) else None
    if restored is not None:
        texts = [text if text[:1].isspace() else restored + text for text in texts]
    ids = [tuple(encode(text)) for text in texts]
    fits = [_fits(record, len(one)) for (record, _), one in zip(kept, ids, strict=True)]
    counted = [fit for fit in fits if fit is not None]
    ignored = bool(counted) and sum(counted) < COMPARABLE * len(counted)
    rows = [row for row, fit in enumerate(fits) if ids[row] and (ignored or fit is not False)]
    if len(kept) > len(rows):
        left_out["not re-tokenised"] += len(kept) - len(rows)
    return Answers(
        prompts=tuple(kept[row][0].key.prompt for row in rows),
        texts=tuple(texts[row] for row in rows),
        ids=tuple(ids[row] for row in rows),
        left_out=dict(sorted(left_out.items())),
        restored=restored,
        counts_ignored=ignored,
        wrapped=any(record.wrapped for record in records),
    )


def _text(record: Record) -> tuple[str, str | None]:
    """What was received before the end of the text, or why it is of no use."""
    if record.outcome == "filtered":
        return "", "filtered"
    if record.error is not None:
        return "", "failed"
    text = record.raw.split(END_OF_TEXT, 1)[0]
    if not text:
        return "", "empty"
    return text, "not re-tokenised" if "\ufffd" in text else None


def _trimmed(texts: Sequence[str]) -> bool:
    bare = sum(not text[:1].isspace() for text in texts)
    return bool(texts) and bare >= MOSTLY * len(texts)


def _fits(record: Record, tokens: int) -> bool | None:
    """Whether the provider counted as many; ``None`` where it did not count."""
    count = record.usage.output_billed
    if count is None or count.estimated:
        return None
    if record.finish_reason == "length":
        return count.value == tokens
    return count.value in (tokens, tokens + 1)
