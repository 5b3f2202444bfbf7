"""The bodies of requests: which parameters are taken, which have no effect, and which are refused.

A parameter that a target could not honor is never dropped: it is refused, except for its neutral
value. Parameters without an effect on the answer are accepted, because unchanged clients send them.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from phi2sdk import prompts
from phi2sdk.errors import InvalidRequest
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.serve.refusal import Refusal

__all__ = ["ChatBody", "CompletionBody", "GenerationBody", "TokenizeBody", "read"]

MOST_CHOICES = 8
MOST_PROMPTS = 256
MOST_STOPS = 16
MOST_TOP = 20
_DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's default of this route."""
_DEFAULT_CHAT_TOKENS = 256
_SPEAKERS = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}


def _only(*neutral: object) -> AfterValidator:
    def check(value: object) -> object:
        if value is not None and value not in neutral:
            raise ValueError(
                f"the targets have no such parameter, so it can only be {neutral[0]!r}"
            )
        return value

    return AfterValidator(check)


Ignored = Any
"""A parameter without an effect on the answer."""
Zero = Annotated[float | None, _only(0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class StreamOptions(_Strict):
    """``stream_options``."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class GenerationBody(_Strict):
    """The parameters that both generating routes have, with the names of OpenAI and vLLM."""

    model: str
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    allow_control_tokens: bool | None = None

    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None

    presence_penalty: Zero = None
    frequency_penalty: Zero = None
    logit_bias: Annotated[dict[str, float] | None, _only({})] = None

    @property
    def choices(self) -> int:
        """Number of answers to each prompt."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """True if a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self, max_tokens: int) -> Sampling:
        """Return the sampling parameters.

        Raises:
            InvalidRequest: A value is out of its range.
        """
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k if self.top_k is not None and self.top_k > 0 else None,
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            seed=self.seed,
            stop=stop,
        )


TokenIds = Annotated[list[int], Field(min_length=1)]


class CompletionBody(GenerationBody):
    """The body of ``/v1/completions``."""

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_PROMPTS)]
    )
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    best_of: int | None = None
    suffix: Annotated[str | None, _only("")] = None

    @property
    def most_tokens(self) -> int:
        """Maximum number of tokens of an answer; 0 only returns the prompt."""
        return _DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts, each as a text or as tokens."""
        given = self.prompt
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]
        return list(given)


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


Absent = Annotated[Any, _only(None, [])]
"""A part of a message that Phi-2 has no use for."""


class Message(_Strict):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_TextPart]
    name: str | None = None
    refusal: Absent = None
    annotations: Absent = None
    audio: Absent = None
    function_call: Absent = None
    tool_calls: Absent = None

    @property
    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(GenerationBody):
    """The body of ``/v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None

    parallel_tool_calls: Ignored = None
    tools: Annotated[list[Any] | None, _only([])] = None
    tool_choice: Annotated[Any, _only("none", "auto")] = None
    functions: Annotated[list[Any] | None, _only([])] = None
    function_call: Annotated[Any, _only("none", "auto")] = None
    response_format: Annotated[Any, _only({"type": "text"})] = None
    modalities: Annotated[list[str] | None, _only(["text"])] = None

    @property
    def most_tokens(self) -> int:
        """Maximum number of tokens of an answer."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return _DEFAULT_CHAT_TOKENS if self.max_tokens is None else self.max_tokens

    def rendered(self) -> Prompt:
        """Return the prompt: a single user message in the format ``instruct``, others in ``chat``.

        Raises:
            InvalidRequest: A message is empty, or a name cannot be a speaker.
        """
        allow = bool(self.allow_control_tokens)
        first = self.messages[0]
        if len(self.messages) == 1 and first.role == "user" and not first.name:
            return prompts.instruct(first.text, allow_control_tokens=allow)
        turns = [(one.name or _SPEAKERS[one.role], one.text) for one in self.messages]
        return prompts.chat(turns, reply_as=_SPEAKERS["assistant"], allow_control_tokens=allow)


class TokenizeBody(_Strict):
    """The body of ``/tokenize``."""

    model: str
    prompt: str
    add_special_tokens: Ignored = None
    """Phi-2 has none to add."""


Body = TypeVar("Body", bound=BaseModel)


def read(kind: type[Body], data: bytes) -> Body:
    """Return the body of a request.

    Raises:
        Refusal: It is not JSON, a parameter is unknown, or a value is wrong.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(kind, error) from None
    except InvalidRequest as error:
        raise Refusal.of(error) from None


def _refusal(kind: type[BaseModel], error: ValidationError) -> Refusal:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid" or not first["loc"]:
        return Refusal(400, f"the body is not a JSON object: {what}", code="invalid_json")
    name = str(first["loc"][0])
    where = ".".join(str(step)[:60] for step in first["loc"])[:200]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, kind.model_fields, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]}?" if near and len(first["loc"]) == 1 else ""
        return Refusal(
            400,
            f"there is no parameter {where}, and it was not ignored.{hint} Remove it from the "
            "request",
            code="unknown_parameter",
            param=name[:60],
        )
    code = "missing_parameter" if first["type"] == "missing" else "invalid_value"
    return Refusal(400, f"{where}: {what}", code=code, param=name)
