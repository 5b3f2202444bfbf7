"""The same request through a vendor's own SDK and through ours.

Each pair names one of our backends and drives the SDK that the vendor (or the protocol's author)
publishes for the same route. Parameters are written by hand, in the SDK's own words: they must not
come from our dialect tables, which are what is being tested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from clarifai.client.model import Model
from huggingface_hub import AsyncInferenceClient, InferenceClient

from phi2sdk import Phi2Client, Prompt, Sampling, prompts
from phi2sdk.emulator import Call, Emulator

MODEL = "microsoft/phi-2"
KEY = "test-key"
PROMPT: Prompt = prompts.raw("Instruct: What guides ships — 東 — past Üll?\nOutput:")
TEXT = PROMPT.text

GREEDY = Sampling(max_tokens=40)
SAMPLED = Sampling(max_tokens=40, temperature=0.7, top_p=0.9, seed=3, stop=("END",))
WITH_TOP_K = Sampling(max_tokens=40, temperature=0.7, top_p=0.9, top_k=7)

Drive = Callable[[Emulator, Sampling, bool], str]


@dataclass(frozen=True)
class Pair:
    """One of our backends beside one SDK.

    Attributes:
        name: ``backend route / SDK``.
        target: Our backend; ``settings`` are its arguments.
        theirs: The same request through the SDK; the text it brings.
        samplings: What both can say.
        streams: Whether both stream, too.
        side_calls: Calls that the SDK makes besides the request itself, before it.
    """

    name: str
    target: str
    theirs: Drive
    settings: Mapping[str, Any] = field(default_factory=dict)
    samplings: Mapping[str, Sampling] = field(
        default_factory=lambda: {"greedy": GREEDY, "sampled": SAMPLED}
    )
    streams: bool = True
    side_calls: int = 0

    def server(self, emulator: Emulator) -> Any:
        return getattr(emulator, self.target)

    def ours(self, emulator: Emulator, sampling: Sampling, stream: bool) -> str:
        """The request through our client; needs the emulator's environment."""
        with Phi2Client(self.target, **self.settings) as phi:
            if not stream:
                return phi.generate(PROMPT, sampling).text
            return "".join(chunk.text for chunk in phi.stream(PROMPT, sampling)).strip()

    def drive(
        self, emulator: Emulator, how: Drive, sampling: Sampling, stream: bool
    ) -> tuple[str, Call]:
        """Drive one side: the text that it read, and the call that it made for it."""
        recorded = self.server(emulator).calls
        before = len(recorded)
        text = how(emulator, sampling, stream)
        made: list[Call] = list(recorded[before:])
        assert len(made) - 1 in (0, self.side_calls), [call.path for call in made]
        return text, made[-1]


# --------------------------------------------------------------------------- Azure


def _azure(emulator: Emulator) -> Any:
    return ChatCompletionsClient(
        emulator.azure.url, AzureKeyCredential(KEY), retry_policy=RetryPolicy.no_retries()
    )


def azure_score(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    """The body is that of the model's card: the SDK has no method for this route."""
    parameters: dict[str, Any] = {"max_new_tokens": sampling.max_tokens}
    if sampling.greedy:
        parameters |= {"do_sample": False}
    else:
        parameters |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "do_sample": True,
        }
    body = {"input_data": {"input_string": [TEXT], "parameters": parameters}}
    with _azure(emulator) as client:
        reply = client.send_request(HttpRequest("POST", "/score", json=body))
        reply.raise_for_status()
        answer: str = reply.json()["output"][0]
    return answer.removeprefix(TEXT).strip()


def azure_chat(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    extras = {} if sampling.top_k is None else {"model_extras": {"top_k": sampling.top_k}}
    given = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **({} if sampling.seed is None else {"seed": sampling.seed}),
        **({"stop": list(sampling.stop)} if sampling.stop else {}),
        **extras,
    }
    with _azure(emulator) as client:
        if not stream:
            reply = client.complete(messages=[UserMessage(TEXT)], **given)
            return str(reply.choices[0].message.content).strip()
        chunks = list(client.complete(messages=[UserMessage(TEXT)], stream=True, **given))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).strip()


# --------------------------------------------------------------------------- OpenAI's protocol


def _openai(base: Callable[[Emulator], str], *, chat: bool, extras: bool = False) -> Drive:
    def drive(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
        given: dict[str, Any] = {
            "model": MODEL,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            given["seed"] = sampling.seed
        if sampling.stop:
            given["stop"] = list(sampling.stop)
        if extras:
            top_k = -1 if sampling.top_k is None else sampling.top_k
            given["extra_body"] = {"top_k": top_k, "min_p": 0.0, "repetition_penalty": 1.0}
        if stream:
            given |= {"stream": True, "stream_options": {"include_usage": True}}
        with openai.OpenAI(base_url=base(emulator), api_key=KEY, max_retries=0) as client:
            if chat:
                given["messages"] = [{"role": "user", "content": TEXT}]
                reply = client.chat.completions.create(**given)
            else:
                reply = client.completions.create(prompt=TEXT, **given)
            parts = list(reply) if stream else [reply]
            return "".join(_said(part, chat=chat, stream=stream) for part in parts).strip()

    return drive


def _said(part: Any, *, chat: bool, stream: bool) -> str:
    if not part.choices:
        return ""
    choice = part.choices[0]
    if not chat:
        return choice.text or ""
    return (choice.delta if stream else choice.message).content or ""


# --------------------------------------------------------------------------- Hugging Face


def _generation(sampling: Sampling) -> dict[str, Any]:
    if sampling.greedy:
        chosen: dict[str, Any] = {"do_sample": False}
    else:
        chosen = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **({} if sampling.top_k is None else {"top_k": sampling.top_k}),
            **({} if sampling.seed is None else {"seed": sampling.seed}),
        }
    return {
        "max_new_tokens": sampling.max_tokens,
        "repetition_penalty": 1.0,
        "return_full_text": False,
        "details": True,
        **({"stop": list(sampling.stop)} if sampling.stop else {}),
        **chosen,
    }


def hf_generation(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    url = f"{emulator.hf.url}/{'generate_stream' if stream else 'generate'}"
    client = InferenceClient(model=url, token=KEY)
    if not stream:
        return str(client.text_generation(TEXT, **_generation(sampling)).generated_text).strip()
    events = client.text_generation(TEXT, stream=True, **_generation(sampling))
    return "".join(e.token.text for e in events if not e.token.special).strip()


def hf_generation_async(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    async def drive() -> str:
        url = f"{emulator.hf.url}/{'generate_stream' if stream else 'generate'}"
        async with AsyncInferenceClient(model=url, token=KEY) as client:
            if not stream:
                reply = await client.text_generation(TEXT, **_generation(sampling))
                return str(reply.generated_text).strip()
            events = await client.text_generation(TEXT, stream=True, **_generation(sampling))
            texts = [e.token.text async for e in events if not e.token.special]
            return "".join(texts).strip()

    return asyncio.run(drive())


def _chat_arguments(sampling: Sampling) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": TEXT}],
        "model": MODEL,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        **({"top_p": sampling.top_p} if sampling.top_p < 1 else {}),
        **({} if sampling.seed is None else {"seed": sampling.seed}),
        **({"stop": list(sampling.stop)} if sampling.stop else {}),
    }


def hf_chat(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    client = InferenceClient(base_url=f"{emulator.hf.url}/v1", token=KEY)
    given = _chat_arguments(sampling)
    if not stream:
        return str(client.chat_completion(**given).choices[0].message.content).strip()
    usage: Any = {"include_usage": True}
    chunks = client.chat_completion(stream=True, stream_options=usage, **given)
    return "".join(_said(chunk, chat=True, stream=True) for chunk in chunks).strip()


def hf_chat_async(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    async def drive() -> str:
        given = _chat_arguments(sampling)
        async with AsyncInferenceClient(base_url=f"{emulator.hf.url}/v1", token=KEY) as client:
            if not stream:
                reply = await client.chat_completion(**given)
                return str(reply.choices[0].message.content).strip()
            usage: Any = {"include_usage": True}
            chunks = await client.chat_completion(stream=True, stream_options=usage, **given)
            texts = [_said(chunk, chat=True, stream=True) async for chunk in chunks]
            return "".join(texts).strip()

    return asyncio.run(drive())


# --------------------------------------------------------------------------- Clarifai


def clarifai(emulator: Emulator, sampling: Sampling, stream: bool) -> str:
    model = Model(
        url="https://clarifai.com/microsoft/text-generation/models/phi-2",
        pat=KEY,
        base_url=f"http://{emulator.clarifai.url}",
    )
    params = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "top_k": sampling.top_k or 51200,
        "top_p": sampling.top_p,
    }
    ask = model.generate_by_bytes if stream else model.predict_by_bytes
    reply = ask(TEXT.encode(), input_type="text", inference_params=params)
    parts = list(reply) if stream else [reply]
    return "".join(part.outputs[0].data.text.raw for part in parts).strip()


_V1 = {"style": "v1", "model": MODEL}
_NO_EXTRAS = {"greedy": GREEDY, "sampled": SAMPLED}
_EXTRAS = {**_NO_EXTRAS, "with top_k": WITH_TOP_K}
_FOUR = {"greedy": GREEDY, "with top_k": WITH_TOP_K}

PAIRS: dict[str, Pair] = {
    pair.name: pair
    for pair in (
        Pair(
            "azure score / azure-ai-inference",
            "azure",
            azure_score,
            samplings=_FOUR,
            streams=False,
        ),
        Pair(
            "azure chat / azure-ai-inference",
            "azure",
            azure_chat,
            {"style": "chat"},
            samplings=_EXTRAS,
        ),
        Pair(
            "azure v1 completions / openai",
            "azure",
            _openai(lambda e: f"{e.azure.url}/openai/v1", chat=False),
            _V1,
        ),
        Pair(
            "azure v1 chat / openai",
            "azure",
            _openai(lambda e: f"{e.azure.url}/openai/v1", chat=True),
            {**_V1, "route": "chat"},
        ),
        Pair("clarifai / clarifai", "clarifai", clarifai, samplings=_FOUR, side_calls=1),
        Pair("hf tgi / huggingface_hub", "hf", hf_generation, samplings=_EXTRAS),
        Pair("hf tgi / huggingface_hub (async)", "hf", hf_generation_async, samplings=_EXTRAS),
        Pair("hf chat / huggingface_hub", "hf", hf_chat, {"route": "chat", "server": "tgi"}),
        Pair(
            "hf chat / huggingface_hub (async)",
            "hf",
            hf_chat_async,
            {"route": "chat", "server": "tgi"},
        ),
        Pair(
            "openai completions / openai",
            "openai",
            _openai(lambda e: f"{e.openai.url}/v1", chat=False, extras=True),
            samplings=_EXTRAS,
        ),
        Pair(
            "openai chat / openai",
            "openai",
            _openai(lambda e: f"{e.openai.url}/v1", chat=True, extras=True),
            {"route": "chat"},
            samplings=_EXTRAS,
        ),
    )
}
