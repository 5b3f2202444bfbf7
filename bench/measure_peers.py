"""Run other load tools on the reference server, and read their report on each request."""

from __future__ import annotations

import json
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import peer_python

__all__ = ["PEERS", "Reported", "Tool"]

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parent / "phi2sdk" / "demo" / "checkpoint"


@dataclass(frozen=True, slots=True)
class Reported:
    """The times that a tool reports for one request, in seconds.

    Attributes:
        prompt: The prompt; ``None`` if the tool does not report it.
        ttft: Time to first token.
        e2e: End-to-end latency.
        tpot: Time per token after the first.
    """

    prompt: str | None
    ttft: float
    e2e: float
    tpot: float | None


class Tool(ABC):
    """A load tool in its own environment."""

    name: str
    packages: tuple[str, ...]

    def run(self, port: int, *, streams: int, requests: int, chat: bool) -> list[Reported]:
        """Run requests with a concurrency of ``streams``, and return the tool's report.

        Raises:
            RuntimeError: The tool could not be installed, or failed. The message ends with its
                output.
        """
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "prompts.txt"
            data.write_text("".join(f"reference {i:04d}\n" for i in range(requests)))
            made = subprocess.run(
                self.command(port, streams, requests, chat, Path(folder)),
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
                cwd=folder,
                env=self.environment(),
            )
            try:
                return self.read(Path(folder))
            except (OSError, LookupError, ValueError, TypeError) as error:
                words = " ".join((made.stderr or made.stdout).split())[-300:]
                raise RuntimeError(f"{self.name} failed: {words}") from error

    def program(self) -> str:
        """Return the path of the tool's command."""
        return str(peer_python(self.name).parent / self.name)

    def environment(self) -> dict[str, str]:
        """Return the environment variables, which disable downloads and telemetry."""
        import os

        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1"}
        return {**os.environ, **quiet}

    @abstractmethod
    def command(
        self, port: int, streams: int, requests: int, chat: bool, folder: Path
    ) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def read(self, folder: Path) -> list[Reported]:
        """Read the report that the tool has written."""


class GuideLLM(Tool):
    """guidellm, of the vLLM project."""

    name = "guidellm"
    packages = ("guidellm",)

    def command(
        self, port: int, streams: int, requests: int, chat: bool, folder: Path
    ) -> list[str]:
        lines = (folder / "prompts.txt").read_text().splitlines()
        data = folder / "prompts.jsonl"
        data.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in lines))
        route = "/v1/chat/completions" if chat else "/v1/completions"
        backend = f"kind=openai_http,target=http://127.0.0.1:{port},model=reference"
        return [
            *(self.program(), "run", "--disable-console"),
            *("--backend", f"{backend},request_format={route}"),
            *("--profile", f"kind=concurrent,streams={streams}"),
            *("--constraint", f"kind=max_requests,count={requests}"),
            *("--data", f"kind=json_file,path={data}"),
            *("--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}"),
            *("--output", f"kind=json,path={folder / 'report.json'}"),
        ]

    def read(self, folder: Path) -> list[Reported]:
        document = json.loads((folder / "report.json").read_text())
        found = []
        for request in document["benchmarks"][0]["requests"]["successful"]:
            itl = request.get("inter_token_latency_ms")
            found.append(
                Reported(
                    prompt=_asked(json.loads(request["request_args"])["body"]),
                    ttft=request["time_to_first_token_ms"] / 1e3,
                    e2e=request["request_latency"],
                    tpot=None if itl is None else itl / 1e3,
                )
            )
        return found


class GenAIBench(Tool):
    """genai-bench, of the SGLang project. It uses only the chat route, and reports no prompts."""

    name = "genai-bench"
    packages = ("genai-bench",)

    def command(
        self, port: int, streams: int, requests: int, chat: bool, folder: Path
    ) -> list[str]:
        return [
            *(self.program(), "benchmark", "--api-backend", "vllm"),
            *("--api-base", f"http://127.0.0.1:{port}", "--api-key", "none"),
            *("--task", "text-to-text", "--api-model-name", "reference"),
            *("--model-tokenizer", str(TOKENIZER), "--num-concurrency", str(streams)),
            *("--traffic-scenario", "D(20,20)", "--max-requests-per-run", str(requests)),
            *("--max-time-per-run", "1", "--dataset-path", str(folder / "prompts.txt")),
            *("--experiment-base-dir", str(folder), "--experiment-folder-name", "out"),
            *("--log-dir", str(folder)),
        ]

    def read(self, folder: Path) -> list[Reported]:
        (file,) = (folder / "out").glob("D*_time_*.json")
        rows: list[dict[str, Any]] = json.loads(file.read_text())["individual_request_metrics"]
        return [
            Reported(None, row["ttft"], row["e2e_latency"], row["tpot"])
            for row in rows
            if row["error_code"] is None
        ]


def _asked(body: dict[str, Any]) -> str:
    if "prompt" in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


PEERS: tuple[Tool, ...] = (GuideLLM(), GenAIBench())
