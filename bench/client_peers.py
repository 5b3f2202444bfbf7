"""One class per client, which sends the same request through it.

A worker in the environment of a client uses its class, so the imports are inside the methods.
``ask`` returns the text of the answer, and ``stream`` yields its chunks. A client without streaming
or without asyncio does not have the method.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from client_base import BODY, GIVEN, KEY, MESSAGES, MODEL, PROMPT, TOKENS, Peer
from client_ours import Ours, OursAzureChat, OursClarifai, OursCompletions, OursScore, OursTGI


class Aiohttp(Peer):
    """The lower bound for HTTP clients: a session that sends and receives JSON."""

    packages = ("aiohttp",)

    async def open(self) -> None:
        import aiohttp

        headers = {"Authorization": f"Bearer {KEY}"}
        self._session = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0)
        )
        self._url = f"{self.http}/v1/chat/completions"

    async def ask(self) -> str:
        async with self._session.post(self._url, json=BODY) as reply:
            document = await reply.json()
            text: str = document["choices"][0]["message"]["content"]
            return text

    async def stream(self) -> AsyncIterator[str]:
        async with self._session.post(self._url, json={**BODY, "stream": True}) as reply:
            async for line in reply.content:
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if choices and (text := choices[0]["delta"].get("content")):
                        yield text

    async def close(self) -> None:
        await self._session.close()


class Grpc(Peer):
    """The lower bound for Clarifai clients: a channel and the generated messages."""

    packages = ("grpcio", "clarifai-grpc")

    async def open(self) -> None:
        import grpc.aio
        from clarifai_grpc.grpc.api import service_pb2

        self._messages = service_pb2
        self._channel = grpc.aio.insecure_channel(self.grpc)
        self._metadata = (("authorization", f"Key {KEY}"),)
        read = service_pb2.MultiOutputResponse.FromString
        write = service_pb2.PostModelOutputsRequest.SerializeToString
        base = "/clarifai.api.V2/"
        self._unary = self._channel.unary_unary(f"{base}PostModelOutputs", write, read)
        self._streamed = self._channel.unary_stream(f"{base}GenerateModelOutputs", write, read)

    def _request(self) -> Any:
        request = self._messages.PostModelOutputsRequest(model_id="phi-2")
        request.user_app_id.user_id, request.user_app_id.app_id = "microsoft", "text-generation"
        request.inputs.add().data.text.raw = PROMPT
        params = {"max_tokens": TOKENS, "temperature": 0.7, "top_p": 0.9, "top_k": 50}
        request.model.model_version.output_info.params.update(params)
        return request

    async def ask(self) -> str:
        reply = await self._unary(self._request(), metadata=self._metadata, timeout=60)
        text: str = reply.outputs[0].data.text.raw
        return text

    async def stream(self) -> AsyncIterator[str]:
        call = self._streamed(self._request(), metadata=self._metadata, timeout=60)
        async for reply in call:
            if text := reply.outputs[0].data.text.raw:
                yield text

    async def close(self) -> None:
        await self._channel.close()


class OpenAI(Peer):
    packages = ("openai",)

    async def open(self) -> None:
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=f"{self.http}/v1", api_key=KEY, max_retries=0, timeout=60
        )

    async def ask(self) -> str:
        reply = await self._client.chat.completions.create(model=MODEL, messages=MESSAGES, **GIVEN)
        return reply.choices[0].message.content or ""

    async def stream(self) -> AsyncIterator[str]:
        events = await self._client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, **GIVEN
        )
        async for event in events:
            if event.choices and (text := event.choices[0].delta.content):
                yield text

    async def close(self) -> None:
        await self._client.close()

    def open_sync(self) -> None:
        import openai

        self._sync = openai.OpenAI(base_url=f"{self.http}/v1", api_key=KEY, max_retries=0)

    def ask_sync(self) -> str:
        reply = self._sync.chat.completions.create(model=MODEL, messages=MESSAGES, **GIVEN)
        return reply.choices[0].message.content or ""

    def close_sync(self) -> None:
        self._sync.close()


class Azure(Peer):
    packages = ("azure-ai-inference",)

    async def open(self) -> None:
        from azure.ai.inference.aio import ChatCompletionsClient
        from azure.core.credentials import AzureKeyCredential

        self._client = ChatCompletionsClient(self.http, AzureKeyCredential(KEY), retry_total=0)

    async def ask(self) -> str:
        reply = await self._client.complete(messages=MESSAGES, **GIVEN)
        return str(reply.choices[0].message.content)

    async def stream(self) -> AsyncIterator[str]:
        async for event in await self._client.complete(messages=MESSAGES, stream=True, **GIVEN):
            if event.choices and (text := event.choices[0].delta.content):
                yield text

    async def close(self) -> None:
        await self._client.close()

    def open_sync(self) -> None:
        from azure.ai.inference import ChatCompletionsClient
        from azure.core.credentials import AzureKeyCredential

        self._sync = ChatCompletionsClient(self.http, AzureKeyCredential(KEY), retry_total=0)

    def ask_sync(self) -> str:
        return str(self._sync.complete(messages=MESSAGES, **GIVEN).choices[0].message.content)

    def close_sync(self) -> None:
        self._sync.close()


class Hub(Peer):
    packages = ("huggingface_hub",)

    async def open(self) -> None:
        from huggingface_hub import AsyncInferenceClient

        self._client = AsyncInferenceClient(base_url=f"{self.http}/v1", token=KEY)

    async def ask(self) -> str:
        reply = await self._client.chat_completion(MESSAGES, model=MODEL, **GIVEN)
        return reply.choices[0].message.content or ""

    async def stream(self) -> AsyncIterator[str]:
        events = await self._client.chat_completion(MESSAGES, model=MODEL, stream=True, **GIVEN)
        async for event in events:
            if event.choices and (text := event.choices[0].delta.content):
                yield text

    async def close(self) -> None:
        await self._client.close()

    def open_sync(self) -> None:
        from huggingface_hub import InferenceClient

        self._sync = InferenceClient(base_url=f"{self.http}/v1", token=KEY)

    def ask_sync(self) -> str:
        reply = self._sync.chat_completion(MESSAGES, model=MODEL, **GIVEN)
        return reply.choices[0].message.content or ""


class LiteLLM(Peer):
    packages = ("litellm",)

    async def open(self) -> None:
        import litellm

        self._module = litellm
        self._given = {
            "model": f"openai/{MODEL}",
            "api_base": f"{self.http}/v1",
            "api_key": KEY,
            "num_retries": 0,
            **GIVEN,
        }

    async def ask(self) -> str:
        reply = await self._module.acompletion(messages=MESSAGES, **self._given)
        return reply.choices[0].message.content or ""

    async def stream(self) -> AsyncIterator[str]:
        events = await self._module.acompletion(messages=MESSAGES, stream=True, **self._given)
        async for event in events:
            if event.choices and (text := event.choices[0].delta.content):
                yield text

    def open_sync(self) -> None:
        asyncio.run(self.open())

    def ask_sync(self) -> str:
        reply = self._module.completion(messages=MESSAGES, **self._given)
        return reply.choices[0].message.content or ""


class AnyLLM(Peer):
    packages = ("any-llm-sdk",)

    async def open(self) -> None:
        import any_llm

        self._module = any_llm
        self._given = {
            "model": MODEL,
            "provider": "openai",
            "api_base": f"{self.http}/v1",
            "api_key": KEY,
            **GIVEN,
        }

    async def ask(self) -> str:
        reply: Any = await self._module.acompletion(messages=MESSAGES, **self._given)
        return reply.choices[0].message.content or ""

    def open_sync(self) -> None:
        asyncio.run(self.open())

    def ask_sync(self) -> str:
        reply: Any = self._module.completion(messages=MESSAGES, **self._given)
        return reply.choices[0].message.content or ""


class _Threaded(Peer):
    """A client without asyncio, which uses 64 threads for 64 requests in flight."""

    async def open(self) -> None:
        self.open_sync()
        self._threads = ThreadPoolExecutor(64)

    async def ask(self) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.ask_sync)

    async def close(self) -> None:
        self._threads.shutdown()


class AISuite(_Threaded):
    packages = ("aisuite",)

    def open_sync(self) -> None:
        import aisuite

        self._sync = aisuite.Client(
            {"openai": {"api_key": KEY, "base_url": f"{self.http}/v1", "max_retries": 0}}
        )

    def ask_sync(self) -> str:
        reply = self._sync.chat.completions.create(
            model=f"openai:{MODEL}", messages=MESSAGES, **GIVEN
        )
        return reply.choices[0].message.content or ""


class Clarifai(_Threaded):
    packages = ("clarifai",)

    def open_sync(self) -> None:
        from clarifai.client.model import Model

        url = "https://clarifai.com/microsoft/text-generation/models/phi-2"
        self._sync = Model(url=url, pat=KEY, base_url=f"http://{self.grpc}")

    def ask_sync(self) -> str:
        params = {"max_tokens": TOKENS, "temperature": 0.7, "top_p": 0.9, "top_k": 50}
        reply = self._sync.predict_by_bytes(
            PROMPT.encode(), input_type="text", inference_params=params
        )
        text: str = reply.outputs[0].data.text.raw
        return text


PEERS: dict[str, type[Peer]] = {
    "ours": Ours,
    "ours completions": OursCompletions,
    "ours azure score": OursScore,
    "ours azure chat": OursAzureChat,
    "ours hf tgi": OursTGI,
    "ours clarifai": OursClarifai,
    "aiohttp": Aiohttp,
    "grpc": Grpc,
    "openai": OpenAI,
    "azure": Azure,
    "hf": Hub,
    "clarifai": Clarifai,
    "litellm": LiteLLM,
    "anyllm": AnyLLM,
    "aisuite": AISuite,
}
