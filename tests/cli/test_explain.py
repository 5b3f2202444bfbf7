"""phi2 explain: what it shows is what goes out, and its command makes the same call."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import Phi2Client, prompts
from phi2sdk.emulator import Call
from phi2sdk.secret import Secret
from phi2sdk.testing import Phi2Emulator
from phi2sdk.transport.preview import RequestPreview, command, quoted
from tests.commands import phi2

HOSTILE = 'It\'s "a" $HOME `id` $(id) \\ !! % @x\n\ttab \x1b[31m \x7f \x85 \u202e ünï 東 🙂 }{][ -d'

TARGETS = {
    "azure_score": ("azure", 'style = "score"'),
    "azure_params": ("azure", 'style = "score"\nform = "params"\ndeployment = "phi-2-1"'),
    "azure_tgi": ("azure", 'style = "tgi"'),
    "azure_chat": ("azure", 'style = "chat"'),
    "azure_v1": ("azure", 'style = "v1"\nmodel = "microsoft/phi-2"'),
    "hf_tgi": ("hf", "wake = true"),
    # TGI's OpenAI route refuses temperature 0, so this one is only asked to sample
    "hf_completions": ("hf", 'route = "completions"\nserver = "tgi"'),
    "openai_completions": ("openai", ""),
    "openai_chat": ("openai", 'route = "chat"'),
}
SAMPLED: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 7}


@pytest.fixture
def emulator(phi2_emulator: Phi2Emulator, tmp_path: Path) -> Phi2Emulator:
    (tmp_path / "phi2.toml").write_text(
        "".join(
            f'[targets.{name}]\nbackend = "{backend}"\n{settings}\n'
            for name, (backend, settings) in TARGETS.items()
        )
    )
    phi2_emulator.azure.deployments = {"phi-2-1"}
    return phi2_emulator


def explained(*arguments: str, cwd: Path) -> str:
    status, out, err = phi2("explain", *arguments, "--curl", cwd=cwd)
    assert status == 0, err
    assert "max_tokens" in err, "the outcome of each parameter stands on standard error"
    return out


def same(ours: Call, theirs: Call) -> None:
    """Two HTTP calls, byte for byte."""
    assert ours.authorized
    assert theirs.authorized
    assert (theirs.method, theirs.path, theirs.query) == (ours.method, ours.path, ours.query)
    assert theirs.raw == ours.raw
    assert theirs.headers == ours.headers


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_command_makes_exactly_the_call_of_the_client(
    target: str, shell: str, emulator: Phi2Emulator, tmp_path: Path
) -> None:
    server = getattr(emulator, TARGETS[target][0])
    for sampling in (SAMPLED,) if target == "hf_completions" else ({}, SAMPLED):
        with Phi2Client(target, config=tmp_path / "phi2.toml") as phi:
            list(phi.stream(HOSTILE, **sampling))
        options = [f"--{name.replace('_', '-')}={value}" for name, value in sampling.items()]
        script = explained(HOSTILE, "-t", target, *options, cwd=tmp_path)
        assert emulator.key not in script
        assert script.replace("\n", "").isprintable()
        subprocess.run([shell, "-c", script], check=True, capture_output=True)
        same(*server.calls[-2:])


@needs_curl
def test_no_stream_is_the_call_of_generate_in_python(
    emulator: Phi2Emulator, tmp_path: Path
) -> None:
    with Phi2Client("openai") as phi:
        phi.generate(prompts.instruct("Tides?"))
    script = explained("Tides?", "-t", "openai", "--no-stream", cwd=tmp_path)
    assert "--no-buffer" not in script
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True)
    assert json.loads(done.stdout)["choices"][0]["text"]
    same(*emulator.openai.calls[-2:])


@pytest.mark.parametrize("stream", [[], ["--no-stream"]], ids=["stream", "whole"])
def test_clarifais_command_is_grpcurls_with_the_same_message(
    stream: list[str], emulator: Phi2Emulator, tmp_path: Path
) -> None:
    """grpcurl's own work, done here: the protoset, JSON into a message, the call."""
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    script = explained(HOSTILE, "-t", "clarifai", "--top-k", "5", *stream, cwd=tmp_path)
    assert emulator.key not in script
    write, called = script.split("\n", 1)
    show = 'grpcurl() { printf "%s\\0" "$@"; }\n'
    python = f'python() {{ {sys.executable} "$@"; }}\n'
    words = subprocess.run(
        ["bash", "-c", python + show + script], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    flags = [word.decode() for word in words.split(b"\0")[:-1]]
    assert flags[:3] == ["-plaintext", "-protoset", "clarifai.protoset"]
    assert flags[3:5] == ["-H", f"authorization: Key {emulator.key}"]
    assert flags[5] == "-d"
    assert flags[7:9] == ["--", emulator.clarifai.url]
    assert write.startswith("python -m phi2sdk.backends.clarifai_protoset > ")
    assert called

    files = descriptor_pb2.FileDescriptorSet.FromString(
        (tmp_path / "clarifai.protoset").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    service, _, name = flags[9].partition("/")
    method = pool.FindServiceByName(service).methods_by_name[name]
    message = json_format.Parse(
        flags[6], message_factory.GetMessageClass(method.input_type)(), descriptor_pool=pool
    )
    with grpc.insecure_channel(flags[8]) as channel:
        call = channel.unary_stream(f"/{flags[9]}", None, None)
        sent = message.SerializeToString(deterministic=True)
        assert list(call(sent, metadata=(("authorization", f"Key {emulator.key}"),)))

    with Phi2Client("clarifai") as phi:
        prompt = prompts.instruct(HOSTILE)
        if stream:
            phi.generate(prompt, top_k=5)
        else:
            list(phi.stream(prompt, top_k=5))
    theirs, ours = emulator.clarifai.calls[-2:]
    assert theirs.authorized
    assert theirs.path == ours.path
    assert theirs.body == ours.body


def test_a_token_that_is_fetched_comes_from_a_command() -> None:
    from phi2sdk.backends.azure import AzureBackend
    from phi2sdk.completion import Request
    from phi2sdk.sampling import Sampling

    backend = AzureBackend(
        endpoint="https://x.example", credential=_NoToken(), scope="https://s/.d"
    )
    call = backend.outgoing(Request(prompts.instruct("Hi"), Sampling()))
    said = command(call, {"AZURE_PHI2_KEY": ""})
    assert said.startswith(
        "PHI2_KEY=$(az account get-access-token --query accessToken --output tsv "
        "--scope=https://s/.d)\n"
    )
    assert '-H "Authorization: Bearer $PHI2_KEY"' in said
    assert "--noproxy" not in said


class _NoToken:
    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("explaining fetches no token")


def test_a_key_is_shown_as_the_variable_that_holds_it_and_never_as_itself() -> None:
    call = RequestPreview(
        "http",
        "https://[2001:db8::1]/x",
        {"Authorization": Secret("Bearer s3cret-key"), "api-key": Secret("s3cret-key"), "X": ""},
        b"{}",
    )
    named = command(call, {"OTHER": "s3cret", "MINE": " s3cret-key\n"})
    assert '-H "Authorization: Bearer $MINE"' in named
    assert '-H "api-key: $MINE"' in named
    assert "-H 'X;'" in named
    assert "--globoff" in named
    unnamed = command(call, {})
    assert '"Authorization: Bearer $PHI2_KEY"' in unnamed
    assert "s3cret" not in named + unnamed


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "text",
    ["", "plain", "it's", "a\nb", "\\n 'x' \x00".replace("\x00", "\x01"), HOSTILE, "\u202e9"],
)
def test_a_quoted_text_is_one_word_and_itself(text: str, shell: str) -> None:
    assert quoted(text).isprintable()
    done = subprocess.run(
        [shell, "-c", f"printf %s {quoted(text)}"], check=True, capture_output=True
    )
    assert done.stdout.decode() == text


def test_local_has_no_wire_and_says_so(tmp_path: Path) -> None:
    status, out, err = phi2("explain", "x", "-t", "local", "--curl", cwd=tmp_path)
    assert (status, out) == (2, "")
    assert "there is no request to show" in err
    status, out, _ = phi2("explain", "x", "-t", "local", "--temperature", "1", cwd=tmp_path)
    assert status == 0
    assert "runs in this process: there is no request to show" in out


def test_nothing_is_sent_and_json_holds_it_all(emulator: Phi2Emulator, tmp_path: Path) -> None:
    status, out, err = phi2("explain", HOSTILE, "-t", "azure_chat", "--json", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert out.isascii()
    said = json.loads(out)
    assert said["wrapped"] is True
    assert said["call"]["headers"]["Authorization"] == "***"
    assert said["call"]["body"]["messages"][0]["content"] == said["prompt"]
    assert said["command"].startswith("curl ")
    assert {one["name"] for one in said["parameters"]} >= {"max_tokens", "stop", "seed"}
    assert emulator.key not in out
    assert emulator.azure.calls == []


def test_what_the_route_cannot_do_is_refused_as_generate_does(
    emulator: Phi2Emulator, tmp_path: Path
) -> None:
    asked = ("-t", "azure_score", "--temperature", "1", "--min-p", "0.1")
    said = [phi2(name, "x", *asked, cwd=tmp_path) for name in ("explain", "generate")]
    assert [status for status, _, _ in said] == [2, 2]
    assert said[0][2].removeprefix("phi2 explain") == said[1][2].removeprefix("phi2 generate")
    status, out, _ = phi2("explain", "x", *asked, "--on-unsupported", "warn", cwd=tmp_path)
    assert status == 0
    assert "unsupported" in out


def test_an_endpoint_known_by_its_name_alone_is_not_looked_up(tmp_path: Path) -> None:
    (tmp_path / "phi2.toml").write_text('[targets.mine]\nbackend = "hf"\nname = "phi-2-xyz"\n')
    with _proxy() as (address, asked):
        status, out, err = phi2(
            *("explain", "x", "-t", "mine", "--curl"), cwd=tmp_path, HTTPS_PROXY=address
        )
    assert (status, out) == (2, "")
    assert "not known before the first request" in err
    assert asked == []


@contextmanager
def _proxy() -> Iterator[tuple[str, list[str]]]:
    """Notes who wants to go out, and lets nobody."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(502)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_environment_is_as_the_client_sees_it(emulator: Phi2Emulator, tmp_path: Path) -> None:
    """A key of the file's own variable is shown by that name."""
    (tmp_path / "phi2.toml").write_text(
        f'[targets.mine]\nbackend = "openai"\nbase_url = "{emulator.openai.url}/v1"\n'
        'api_key = { env = "TEAM_KEY" }\n'
    )
    script = phi2("explain", "x", "-t", "mine", "--curl", cwd=tmp_path, TEAM_KEY=emulator.key)[1]
    assert '"Authorization: Bearer $TEAM_KEY"' in script
    assert os.environ["OPENAI_API_KEY"] not in script
