"""The sampled arm of a comparison: answers at temperature 1, which say who wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from phi2sdk.completion import Request
from phi2sdk.errors import InvalidRequest
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.schedule import Lane, sampled, seed_of
from phi2sdk.measure.settings import Settings
from phi2sdk.measure.workload import Workload
from phi2sdk.prompts import END_OF_TEXT, Prompt
from phi2sdk.sampling import Sampling


@dataclass(frozen=True, slots=True)
class SampledArm:
    """The requests of the sampled arm.

    Attributes:
        settings: The settings of the comparison.
        workload: The texts or prompts.
        own: Whether the workload is separate from that of the comparison.
        prompts: The prompts, without stops: an answer ends with end-of-text or ``max_tokens``.
            There are none if nothing is sampled.
        seeded: Whether the route of a target takes a seed, by target.
    """

    settings: Settings
    workload: Workload
    own: bool
    prompts: Mapping[str, Prompt]
    seeded: Mapping[str, bool]

    @classmethod
    def of(
        cls,
        settings: Settings,
        candidates: Mapping[str, Candidate],
        workload: Workload,
        identity: Workload | None,
    ) -> SampledArm:
        """The sampled arm of a comparison; without any prompt where it has none.

        Raises:
            InvalidRequest: A text cannot become a prompt.
        """
        asked = identity or workload
        # As raw, since answers of the code format end at a top-level line without any stop.
        found = asked.prompts() if settings.identity else {}
        prompts = {id: replace(p, stop=(), format="raw") for id, p in found.items()}
        arm = cls(settings, asked, identity is not None, prompts, {})
        first = next(iter(prompts), None)
        if first is None:
            return arm
        return replace(
            arm, seeded={name: arm._takes_seed(c, first) for name, c in candidates.items()}
        )

    def request(self, key: Key) -> Request:
        """The request of a key."""
        seed = seed_of(self.settings.seed, key) if self.seeded.get(key.target, True) else None
        sampling = Sampling(max_tokens=self.settings.max_tokens, temperature=1.0, seed=seed)
        return Request(self.prompts[key.prompt], sampling, timeout=self.settings.timeout)

    def lanes(self, done: Container[Key]) -> tuple[Lane, ...]:
        """Return the lanes of the requests that remain to be sent."""
        settings = self.settings
        return sampled(
            list(self.seeded),
            list(self.prompts),
            settings.identity,
            width=settings.identity_concurrency,
            seed=settings.seed,
            done=done,
        )

    def configuration(self) -> dict[str, Any]:
        """Its part of what makes two runs the same; nothing where there is no sampled arm."""
        if not self.settings.identity:
            return {}
        texts = {id: prompt.text for id, prompt in self.prompts.items()} if self.own else None
        summarize = self.workload.task == "summarize"
        return {
            "identity": {
                "calls": self.settings.identity,
                "prompts": texts,
                "format": "instruct" if summarize else self.workload.format,
            }
        }

    def _takes_seed(self, candidate: Candidate, prompt: str) -> bool:
        request = self.request(Key("sampled", candidate.name, prompt, 0))
        try:
            candidate.client.backend.explain(request)
        except InvalidRequest as error:
            return "seed" not in error.message
        return True


MOSTLY = 0.9
"""From this share on, a habit: of answers to begin with white space, or not to."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a target that can be scored, and the reasons for excluding others.

    Attributes:
        prompts: The ids of their prompts.
        texts: The texts as received, with the white space that the provider trimmed.
        counted: Tokens as the provider counts them, and whether the count may include end-of-text.
        left_out: Number of excluded answers by cause.
        restored: The white space that was added before each text; ``None`` if none was missing.
        wrapped: Whether the route wraps prompts in a template.
        ids: The tokens of the texts, if they are known.
        whole_texts: The texts of which ``texts`` are the beginnings that are compared.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    counted: tuple[tuple[int, bool] | None, ...]
    left_out: Mapping[str, int]
    restored: str | None = None
    wrapped: bool = False
    ids: tuple[Ids, ...] = ()
    whole_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.whole_texts:
            object.__setattr__(self, "whole_texts", self.texts)

    def spelt(self, ids: Iterable[Ids]) -> Answers:
        """Return the answers with their tokens."""
        return replace(self, ids=tuple(ids))

    def cut_to(self, room: Mapping[str, int], codec: Codec) -> Answers:
        """Return the answers with texts cut to the context of the reference.

        Args:
            room: Number of tokens that fit after each prompt. Prompts with none are excluded.
            codec: The tokenizer of the reference.
        """
        rows = [row for row, id in enumerate(self.prompts) if room[id] > 0]
        left_out = dict(self.left_out)
        if len(rows) < len(self.prompts):
            left_out["prompt too long"] = len(self.prompts) - len(rows)
        texts = [_cut(self.texts[row], room[self.prompts[row]], codec) for row in rows]
        return replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            texts=tuple(texts),
            whole_texts=tuple(texts),
            counted=tuple(self.counted[row] for row in rows),
            left_out=left_out,
        )

    @property
    def counts_differ(self) -> int:
        """Return the number of answers whose token count at the provider differs.

        These answers are scored as well, because the control is not selected by a count.
        """
        return sum(
            found is not None and len(ids) not in (found[0], found[0] - found[1])
            for found, ids in zip(self.counted, self.ids, strict=True)
        )

    def first_lines(self) -> tuple[str, ...]:
        """Return each text up to its first line break, without white space at the ends.

        What a route trims, and where it stops a text that runs on, is not the model's doing.
        """
        return tuple(text.strip().split("\n", 1)[0].rstrip() for text in self.texts)

    @staticmethod
    def of_texts(prompts: Sequence[str], texts: Sequence[str]) -> Answers:
        """A local model's own answers, chosen as :func:`usable` chooses."""
        kept = [(p, t) for p, t in zip(prompts, texts, strict=True) if t and _HALF not in t]
        return Answers(
            tuple(p for p, _ in kept), tuple(t for _, t in kept), (None,) * len(kept), {}
        )


class Codec(Protocol):
    """The part of a model that turns text into tokens and back."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


def _cut(text: str, tokens: int, codec: Codec) -> str:
    if len(text.encode()) <= tokens:  # a token has at least one byte
        return text
    ids = codec.encode(text)
    return text if len(ids) <= tokens else codec.decode(ids[:tokens]).rstrip(_HALF)


def leading_space(texts: Sequence[str]) -> str | None:
    """The white space with which nearly all of a model's own answers begin, if there is one."""
    spaces = Counter(text[: len(text) - len(text.lstrip())] for text in texts)
    if not spaces:
        return None
    space, count = spaces.most_common(1)[0]
    return space if space and count >= MOSTLY * len(texts) else None


def usable(records: Sequence[Record], *, leading: str | None = None) -> Answers:
    """Return the sampled answers of a target that can be scored.

    Excluded are ``failed`` requests, ``filtered`` and ``empty`` answers, and texts with an
    incomplete character (``not re-tokenized``).

    Args:
        records: The target's records of the sampled arm.
        leading: White space at the beginning of the reference's answers, which is added if the
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
    return Answers(
        prompts=tuple(record.key.prompt for record, _ in kept),
        texts=tuple(texts),
        counted=tuple(_counted(record) for record, _ in kept),
        left_out=dict(sorted(left_out.items())),
        restored=restored,
        wrapped=any(record.wrapped for record in records),
    )


_HALF = "\ufffd"


def _text(record: Record) -> tuple[str, str | None]:
    """Return the text before end-of-text, or the reason why it cannot be scored."""
    if record.outcome == "filtered":
        return "", "filtered"
    if record.error is not None:
        return "", "failed"
    text = record.raw.split(END_OF_TEXT, 1)[0]
    if not text:
        return "", "empty"
    return text, "not re-tokenized" if _HALF in text else None


def _trimmed(texts: Sequence[str]) -> bool:
    bare = sum(not text[:1].isspace() for text in texts)
    return bool(texts) and bare >= MOSTLY * len(texts)


def _counted(record: Record) -> tuple[int, bool] | None:
    count = record.usage.output_billed
    if count is None or count.estimated:
        return None
    return count.value, record.finish_reason != "length"
