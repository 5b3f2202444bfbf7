"""Use ``phi2 serve`` with one unchanged client; bench/serve_clients.py starts it for each client.

    python serve_client.py CLIENT URL MODEL [FOLDER]

It runs in the environment of the client, and prints one line of JSON: the versions, a result for
each check, and for lm-eval the log-likelihoods of its texts.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

QUESTION = "Explain tides."
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
TEXTS = [
    ("The moon pulls", " the sea."),
    ("Light guides ships, and", " numbers guide minds."),
    ("Q: What causes tides?\nA:", " The moon"),
    ("A", " lighthouse"),
]
"""Contexts with continuations, which lm-eval scores."""

Checks = dict[str, Callable[[], object]]


def openai_checks(url: str, model: str, folder: str) -> Checks:
    """The vendor's client for Python."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def chat() -> object:
        return client.chat.completions.create(model=model, messages=MESSAGES).choices[0].message

    async def in_asyncio() -> object:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as other:
            said = await other.chat.completions.create(model=model, messages=MESSAGES, n=2)
            return len(said.choices) == 2

    def stream() -> object:
        options: Any = {"include_usage": True}
        chunks = list(
            client.chat.completions.create(
                model=model, messages=MESSAGES, stream=True, stream_options=options
            )
        )
        return chunks[-1].usage and any(c.choices and c.choices[0].delta.content for c in chunks)

    def echo() -> object:
        said = client.completions.create(
            model=model, prompt="The moon", max_tokens=1, echo=True, logprobs=1, temperature=0
        )
        found = said.choices[0].logprobs
        return found and found.token_logprobs and found.token_logprobs[1] and found.top_logprobs

    def logprobs() -> object:
        said = client.chat.completions.create(
            model=model, messages=MESSAGES, logprobs=True, top_logprobs=3, max_tokens=4
        )
        found = said.choices[0].logprobs
        return found and found.content and len(found.content[0].top_logprobs) == 3

    def error() -> object:
        try:
            client.completions.create(model="none", prompt="x")
        except openai.NotFoundError as failure:
            return failure.code == "model_not_found"
        return False

    return {
        "chat": chat,
        "asyncio, n=2": lambda: asyncio.run(in_asyncio()),
        "stream with usage": stream,
        "echo with logprobs": echo,
        "top_logprobs": logprobs,
        "models": lambda: client.models.retrieve(model).id == model,
        "errors": error,
    }


def langchain_checks(url: str, model: str, folder: str) -> Checks:
    """langchain-openai."""
    from langchain_openai import ChatOpenAI, OpenAI

    given: Any = {"base_url": url, "api_key": "none", "max_retries": 0, "model": model}
    chat, complete = ChatOpenAI(**given), OpenAI(**given)
    return {
        "invoke": lambda: chat.invoke(QUESTION).content,
        "usage": lambda: chat.invoke(QUESTION).usage_metadata["output_tokens"] > 0,  # type: ignore[index]
        "stream": lambda: "".join(str(chunk.content) for chunk in chat.stream(QUESTION)),
        "batch": lambda: len(chat.batch([QUESTION] * 3)) == 3,
        "asyncio": lambda: asyncio.run(chat.ainvoke(QUESTION)).content,
        "completions": lambda: complete.invoke("The moon"),
        "completions, stream": lambda: "".join(complete.stream("The moon")),
    }


def llm_checks(url: str, model: str, folder: str) -> Checks:
    """The command ``llm``."""
    home = tempfile.mkdtemp(dir=folder)
    (Path(home) / "extra-openai-models.yaml").write_text(
        f"- model_id: phi-2\n  model_name: {model}\n  api_base: {url}\n", encoding="utf-8"
    )

    def run(*options: str) -> str:
        command = [str(Path(sys.executable).parent / "llm"), "-m", "phi-2", *options, QUESTION]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "LLM_USER_PATH": home},
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-200:])
        return done.stdout.strip()

    return {
        "stream": run,
        "no stream": lambda: run("--no-stream"),
        "options": lambda: run("-o", "temperature", "0.5", "-o", "max_tokens", "8"),
    }


def litellm_checks(url: str, model: str, folder: str) -> Checks:
    """litellm as a client."""
    import litellm

    given: Any = {"model": f"openai/{model}", "api_base": url, "api_key": "none"}
    text: Any = {**given, "model": f"text-completion-openai/{model}"}
    return {
        "completion": lambda: litellm.completion(messages=MESSAGES, **given).choices[0].message,
        "stream": lambda: [
            *litellm.completion(messages=MESSAGES, stream=True, max_tokens=8, **given)
        ],
        "text_completion": lambda: litellm.text_completion(prompt="The moon", **text).choices,
    }


def lm_eval_checks(url: str, model: str, folder: str) -> Checks:
    """The model ``local-completions`` of lm-evaluation-harness."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    harness = LocalCompletionsAPI(
        model=model, base_url=f"{url}/completions", tokenizer=folder, batch_size=2
    )

    def score() -> object:
        asked = [Instance("loglikelihood", {}, text, 0) for text in TEXTS]  # type: ignore[arg-type]
        return [(float(p), bool(greedy)) for p, greedy in harness.loglikelihood(asked)]

    def generate() -> object:
        options = {"until": ["\n"], "max_gen_toks": 8}
        asked = [Instance("generate_until", {}, ("The moon", options), 0)]  # type: ignore[arg-type]
        return isinstance(harness.generate_until(asked)[0], str)

    return {"loglikelihood": score, "generate_until": generate}


CLIENTS = {
    "openai": (openai_checks, "openai"),
    "langchain-openai": (langchain_checks, "langchain-openai"),
    "llm": (llm_checks, "llm"),
    "litellm": (litellm_checks, "litellm"),
    "lm-eval": (lm_eval_checks, "lm_eval"),
}


def main() -> None:
    """Run the checks of one client."""
    name, url, model, folder = sys.argv[1:5]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # clients print to standard output
    make, package = CLIENTS[name]
    found: dict[str, Any] = {"version": version(package), "checks": {}}
    for check, run in make(url, model, folder).items():
        try:
            said = run()
            found["checks"][check] = "works" if said else "no answer"
            if check == "loglikelihood":
                found["loglikelihoods"] = said
        except Exception as error:
            found["checks"][check] = f"{type(error).__name__}: {error}"[:200]
    answers.write(json.dumps(found) + "\n")
    answers.flush()
    os._exit(0)  # some clients leave threads that do not end


if __name__ == "__main__":
    main()
