"""A configuration file from another person gets no secret of the user."""

from __future__ import annotations

import http.server
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import Phi2Client
from phi2sdk.config import load_config, trust
from phi2sdk.emulator import Emulator
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from tests.commands import phi2

SECRET = "wJalrXUtnFEMI-canary"
ENVIRONMENT = dict.fromkeys(
    ("AWS_SECRET_ACCESS_KEY", "AZURE_PHI2_KEY", "CLARIFAI_PAT", "HF_TOKEN", "OPENAI_API_KEY"),
    SECRET,
)
ADDRESSES = ("AZURE_PHI2_ENDPOINT", "CLARIFAI_API_BASE", "HF_PHI2_ENDPOINT", "OPENAI_BASE_URL")
AWS = '{ env = "AWS_SECRET_ACCESS_KEY" }'
OURS = "https://phi.eastus.inference.ml.azure.com"
FOREIGN = "https://phi.example.com"


@pytest.fixture(autouse=True)
def _nothing_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def thief() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback; notes the Authorization header of every request, empty for none."""
    taken: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            taken.append(self.headers.get("Authorization", ""))
            body = b'{"data": [{"id": "phi-2"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def written(folder: Path, lines: str, backend: str = "openai") -> Path:
    file = folder / "phi2.toml"
    file.write_text(f'[targets.a]\nbackend = "{backend}"\n{lines}\n')
    return file


def stealing(folder: Path, url: str) -> Path:
    return written(folder, f'base_url = "{url}/v1"\napi_key = {AWS}')


COMMANDS = [
    ("doctor", "--json"),
    ("generate", "x", "--target", "a"),
    ("explain", "x", "--target", "a"),
    ("compare", "in.txt", "--target", "a", "--out", "run"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_terminal_no_command_sends_an_unconfirmed_secret_and_each_names_phi2_trust(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("The sea rises.")
    with thief() as (url, taken):
        stealing(tmp_path, url)
        status, out, err = phi2(*command, cwd=tmp_path, AWS_SECRET_ACCESS_KEY=SECRET)
    said = " ".join((out + err).split())
    assert status == (3 if command[0] == "doctor" else 2), said
    assert taken == []
    assert "phi2 trust phi2.toml" in said
    assert "AWS_SECRET_ACCESS_KEY" in said
    assert url in said
    assert SECRET not in said


def test_phi2_trust_shows_file_host_and_variable_and_what_it_confirmed_is_sent(
    tmp_path: Path,
) -> None:
    with thief() as (url, taken):
        file = stealing(tmp_path, url)
        status, _, err = phi2("trust", "phi2.toml", cwd=tmp_path, AWS_SECRET_ACCESS_KEY=SECRET)
        said = " ".join(err.split())
        assert status == 2
        for shown in (str(file), url, "AWS_SECRET_ACCESS_KEY", "add --yes"):
            assert shown in said
        assert (
            phi2("trust", "phi2.toml", "--yes", cwd=tmp_path, AWS_SECRET_ACCESS_KEY=SECRET)[0] == 0
        )
        assert taken == []
        assert phi2("doctor", cwd=tmp_path, AWS_SECRET_ACCESS_KEY=SECRET)[0] == 0
        assert [sent for sent in taken if sent] == [f"Bearer {SECRET}"]
        status, _, err = phi2("trust", "phi2.toml", cwd=tmp_path)
        assert (status, "Every secret is confirmed" in err) == (0, True)


def test_a_confirmation_holds_for_its_file_its_host_and_its_variable_only(tmp_path: Path) -> None:
    file = stealing(tmp_path, FOREIGN)
    trust.confirm(trust.sendings(load_config(file)["a"], ENVIRONMENT))
    assert opens(file)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert opens(link)
    (tmp_path / "copies").mkdir()
    assert not opens(stealing(tmp_path / "copies", FOREIGN))
    assert not opens(stealing(tmp_path, "https://other.example.com"))
    assert not opens(stealing(tmp_path, f"{FOREIGN}:8443"))
    text = file.read_text().replace("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY")
    file.write_text(text.replace("https://phi.example.com:8443", FOREIGN))
    assert not opens(file)
    assert opens(stealing(tmp_path, FOREIGN))
    assert trust.revoke(link) == 1
    assert not opens(file)


def opens(file: Path, **addresses: str) -> bool:
    """Return whether the file's target opens; if not, check that a confirmation is missing."""
    refused = ""
    try:
        load_config(file)["a"].open(environ={**ENVIRONMENT, **addresses})
    except ConfigurationError as error:
        refused = error.message
    assert not refused or f"phi2 trust {file}" in refused
    assert SECRET not in refused
    return not refused


@pytest.mark.parametrize(
    ("backend", "lines"),
    [
        ("azure", f'endpoint = "{OURS}/score"'),
        ("azure", f'endpoint = "{OURS}:443"\nkey = {{ env = "AZURE_PHI2_KEY" }}'),
        ("azure", 'endpoint = "https://phi.services.ai.azure.com/models"\nstyle = "chat"'),
        ("azure", f'endpoint = "{OURS}"\ncredential = "default"'),
        ("clarifai", ""),
        ("clarifai", 'base = "api.clarifai.com"\npat = { env = "CLARIFAI_PAT" }'),
        ("hf", 'endpoint = "https://router.huggingface.co/v1"\nroute = "chat"'),
        ("hf", 'name = "mine"'),
        ("openai", 'base_url = "https://api.openai.com/v1"\napi_key = { env = "OPENAI_API_KEY" }'),
        ("openai", f'base_url = "{FOREIGN}/v1"\nmodel = {{ env = "PHI2_MODEL" }}'),
        ("local", 'model = { env = "PHI2_MODEL" }'),
    ],
)
def test_the_own_secret_of_a_backend_goes_to_its_own_hosts_without_a_confirmation(
    backend: str, lines: str, tmp_path: Path
) -> None:
    assert opens(written(tmp_path, lines, backend), PHI2_MODEL="demo")


@pytest.mark.parametrize(
    ("backend", "lines"),
    [
        # A secret that is not the backend's: anyone can have an endpoint at these hosts.
        ("azure", f'endpoint = "{OURS}"\nkey = {AWS}'),
        ("azure", f'endpoint = "{OURS}"\nkey = {{ env = "HF_TOKEN" }}'),
        ("azure", f'endpoint = "{OURS}"\ndeployment = {AWS}'),
        ("azure", f'endpoint = "{OURS}"\ndeployment = {{ env = "AZURE_PHI2_KEY" }}'),
        ("openai", f'base_url = "{FOREIGN}/v1"\nmodel = {AWS}'),
        ("clarifai", f"base = {AWS}"),
        ("local", f"model = {AWS}"),
        # Another host, with the secret that the environment brings without being named.
        ("azure", f'endpoint = "{FOREIGN}"'),
        ("azure", 'endpoint = "https://inference.ml.azure.com.example.com"'),
        ("azure", 'endpoint = "https://phi-inference.ml.azure.com"'),
        ("azure", 'endpoint = "https://example.com\\\\.inference.ml.azure.com"'),
        ("azure", f'endpoint = "{OURS}:8443"'),
        ("azure", f'endpoint = "{OURS.replace("https", "http")}"\ninsecure_hosts = ["{OURS[8:]}"]'),
        ("clarifai", 'base = "phi.example.com"'),
        ("hf", f'endpoint = "{FOREIGN}"'),
        ("hf", 'endpoint = "https://abc.us-east-1.aws.endpoints.huggingface.cloud"'),
        ("hf", 'name = "phi"\nnamespace = "somebody"'),
        ("openai", f'base_url = "{FOREIGN}"\napi_key = {{ env = "OPENAI_API_KEY" }}'),
        # A token of the signed-in user.
        ("azure", f'endpoint = "{FOREIGN}"\ncredential = "default"'),
        (
            "azure",
            f'endpoint = "{OURS}"\ncredential = "default"\n'
            'scope = "https://management.azure.com/.default"',
        ),
        # Another user of this machine may listen there.
        ("azure", 'endpoint = "http://127.0.0.1:8000"'),
        ("openai", f'base_url = "http://localhost:8000/v1"\napi_key = {AWS}'),
    ],
)
def test_any_other_secret_or_host_needs_a_confirmation(
    backend: str, lines: str, tmp_path: Path
) -> None:
    assert not opens(written(tmp_path, lines, backend))


@pytest.mark.parametrize(
    ("backend", "address", "named"),
    [
        ("azure", "endpoint", "AZURE_PHI2_ENDPOINT"),
        ("hf", "endpoint", "HF_PHI2_ENDPOINT"),
        ("openai", "base_url", "OPENAI_BASE_URL"),
        ("clarifai", "base", "CLARIFAI_API_BASE"),
    ],
)
@pytest.mark.parametrize("host", [FOREIGN, "http://127.0.0.1:8000"])
@pytest.mark.parametrize("by_alias", [False, True], ids=["api_key", "alias"])
def test_the_host_that_the_environment_names_gets_the_own_secret_of_its_backend_only(
    backend: str, address: str, named: str, host: str, by_alias: bool, tmp_path: Path
) -> None:
    own = {
        "azure": "AZURE_PHI2_KEY",
        "hf": "HF_TOKEN",
        "openai": "OPENAI_API_KEY",
        "clarifai": "CLARIFAI_PAT",
    }[backend]
    setting = "api_key"
    if by_alias:
        setting = {"azure": "key", "hf": "token", "clarifai": "pat"}.get(backend, setting)
    environ = {named: host}
    for line in (f'{address} = "{host}"', f'{address} = {{ env = "{named}" }}', ""):
        secret = f'{line}\n{setting} = {{ env = "{own}" }}'
        assert opens(written(tmp_path, secret, backend), **environ)
        assert not opens(written(tmp_path, f"{line}\n{setting} = {AWS}", backend), **environ)
    elsewhere = f'{address} = "https://other.example.com"\n{setting} = {{ env = "{own}" }}'
    assert not opens(written(tmp_path, elsewhere, backend), **environ)
    other = f'{address} = {{ env = "OTHER" }}\n{setting} = {{ env = "{own}" }}'
    assert not opens(written(tmp_path, other, backend), OTHER="https://other.example.com")


def test_the_key_of_the_emulators_goes_to_loopback_under_any_variable(tmp_path: Path) -> None:
    with Emulator(providers=["openai"]).running() as emulator:
        lines = f'base_url = "{emulator.openai.url}/v1"\napi_key = {{ env = "TEAM_KEY" }}'
        written(tmp_path, lines)
        status, _, err = phi2("generate", "x", "-t", "a", cwd=tmp_path, TEAM_KEY=emulator.key)
        assert status == 0, err
        assert [call.authorized for call in emulator.openai.calls] == [True]
        assert phi2("generate", "x", "-t", "a", cwd=tmp_path, TEAM_KEY=SECRET)[0] == 2
        assert len(emulator.openai.calls) == 1


def test_a_client_in_python_refuses_the_file_with_the_command_that_confirms_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with thief() as (url, taken):
        file = stealing(tmp_path, url)
        with pytest.raises(ConfigurationError, match="phi2 trust") as caught:
            Phi2Client("a", config=file)
        assert taken == []
    assert SECRET not in str(caught.value)


def test_host_and_key_of_the_program_itself_need_no_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_PHI2_KEY", SECRET)
    Phi2Client("azure", endpoint=FOREIGN).close()
    Phi2Client("azure", endpoint=FOREIGN, api_key=SECRET).close()
    file = written(tmp_path, 'endpoint = "https://other.example.com"', "azure")
    Phi2Client("a", config=file, endpoint=FOREIGN).close()
    Phi2Client("a", config=file, endpoint=FOREIGN, key=SECRET).close()


def test_a_variable_of_the_file_does_not_go_to_a_host_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    file = written(tmp_path, f"key = {AWS}", "azure")
    with pytest.raises(ConfigurationError, match="give both endpoint and the key in the program"):
        Phi2Client("a", config=file, endpoint=FOREIGN)
    Phi2Client("a", config=file, endpoint=FOREIGN, key=SECRET).close()


def test_a_file_does_not_divert_the_credential_of_a_program(tmp_path: Path) -> None:
    class Credential:
        def get_token(self, *scopes: str, **_: object) -> object:
            raise AssertionError(f"asked for {scopes}")

    file = written(tmp_path, f'endpoint = "{FOREIGN}"', "azure")
    with pytest.raises(ConfigurationError, match=r"a Microsoft Entra token for .* in the program"):
        Phi2Client("a", config=file, credential=Credential())
    Phi2Client("a", config=file, credential=Credential(), endpoint=FOREIGN).close()


def test_plain_http_to_a_host_of_the_environment_needs_a_confirmation(tmp_path: Path) -> None:
    """The file's insecure_hosts would send the key unencrypted."""
    lines = 'insecure_hosts = ["phi.example.com"]'
    named = {"AZURE_PHI2_ENDPOINT": "http://phi.example.com"}
    assert not opens(written(tmp_path, lines, "azure"), **named)


@pytest.mark.parametrize("setting", ["api_key", "key"])
@pytest.mark.parametrize("key", [SECRET, Secret(SECRET)], ids=["text", "Secret"])
def test_a_file_in_the_working_directory_does_not_divert_the_key_of_a_program(
    key: str | Secret, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target of the file may have the name of the backend that the program means."""
    monkeypatch.chdir(tmp_path)
    program: Any = {setting: key}
    file = written(tmp_path, f'endpoint = "{FOREIGN}"', "azure")
    file.write_text(file.read_text().replace("targets.a", "targets.azure"))
    with pytest.raises(
        ConfigurationError, match="give both endpoint and the key in the program"
    ) as caught:
        Phi2Client("azure", **program)
    assert SECRET not in str(caught.value)
    file.write_text(file.read_text().replace(FOREIGN, OURS))
    with Phi2Client("azure", **program) as phi:
        assert phi.target == "azure"


PLUG_IN = """
from typing import ClassVar
from phi2sdk import Secret
from phi2sdk.backends.openai import OpenAIBackend

class Mine(OpenAIBackend):
    environment: ClassVar = {"api_key": "MINE_KEY"}
    together: ClassVar = {}
    required: ClassVar = ()
    address: ClassVar = None

    def __init__(self, *, server_url: str = "https://mine.example", api_key: Secret | None = None,
                 target: str | None = None) -> None:
        super().__init__(base_url=server_url, api_key=api_key, target=target)
"""


def test_a_plug_in_that_does_not_tell_its_hosts_gets_its_secret_only_if_the_file_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_for_trust.py").write_text(PLUG_IN)
    about = tmp_path / "mine_for_trust-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-for-trust\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[phi2sdk.backends]\nmine = mine_for_trust:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert opens(written(tmp_path, "", "mine"), MINE_KEY=SECRET)
    chosen = written(tmp_path, f'server_url = "{FOREIGN}"', "mine")
    assert not opens(chosen, MINE_KEY=SECRET)
    trust.confirm(trust.sendings(load_config(chosen)["a"], {}))
    assert opens(chosen, MINE_KEY=SECRET)
    other = written(tmp_path, 'server_url = "https://other.example.com"', "mine")
    assert not opens(other, MINE_KEY=SECRET)
    assert not opens(written(tmp_path, f"api_key = {AWS}", "mine"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_on_a_terminal_a_command_asks_once_and_no_is_the_default(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("The sea rises.")
    with thief() as (url, taken):
        file = stealing(tmp_path, url)
        status, said = on_a_terminal(command, tmp_path, "\n")
        assert status == (3 if command[0] == "doctor" else 2), said
        assert taken == []
        for shown in (str(file), url, "AWS_SECRET_ACCESS_KEY", "[y/N]"):
            assert shown in said
        on_a_terminal(command, tmp_path, "y\n")
        assert any(taken) == (command[0] != "explain")
        assert {*filter(None, taken)} <= {f"Bearer {SECRET}"}
        assert "[y/N]" not in on_a_terminal(command, tmp_path, None)[1]


def test_ctrl_c_at_the_question_is_130_and_confirms_nothing(tmp_path: Path) -> None:
    stealing(tmp_path, FOREIGN)
    status, said = on_a_terminal(("trust", "phi2.toml"), tmp_path, "\x03")
    assert status == 130, said
    assert trust.confirmed() == set()


def on_a_terminal(command: tuple[str, ...], cwd: Path, answer: str | None) -> tuple[int, str]:
    """Status and output of a command on a terminal; it gets the answer when it asks."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.cli", *command],
        stdin=follower, stdout=follower, stderr=follower, cwd=cwd, start_new_session=True,
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": SECRET, "NO_COLOR": "1", "COLUMNS": "300"},
    )  # fmt: skip
    os.close(follower)
    said = b""
    try:
        while piece := os.read(leader, 65536):
            said += piece
            if answer is not None and b"[y/N]" in said:
                if answer == "\x03":  # a session without this terminal gets no signal from it
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(leader, answer.encode())
                answer = None
    except OSError:
        pass  # the other end is closed
    os.close(leader)
    return process.wait(60), said.decode()


def test_confirmations_are_readable_by_the_user_only_and_a_broken_store_is_named(
    tmp_path: Path,
) -> None:
    file = stealing(tmp_path, FOREIGN)
    trust.confirm(trust.sendings(load_config(file)["a"], {}))
    store = trust.store()
    assert store.is_relative_to(tmp_path)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert [entry.name for entry in store.parent.iterdir()] == ["trust.json"]
    assert json.loads(store.read_text()) == [
        {"file": str(file), "host": FOREIGN, "variable": "AWS_SECRET_ACCESS_KEY"}
    ]
    store.write_text('[{"file": 3}]')
    with pytest.raises(ConfigurationError, match=r"trust\.json, .* delete it"):
        load_config(file)["a"].open(environ=ENVIRONMENT)


def test_a_host_with_other_letters_is_shown_as_what_it_is(tmp_path: Path) -> None:
    file = written(tmp_path, 'endpoint = "https://\u0440hi.example.com\\u202e"', "azure")
    (sending,) = trust.sendings(load_config(file)["a"], ENVIRONMENT)
    assert sending.host == "https://\\u0440hi.example.com\\u202e"
