"""``phi2 evaluate fetch`` fills the cache of the hub, and an evaluation needs nothing else."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.commands import phi2

ROW = b'{"passage": "The sea is wet.", "question": "is the sea wet", "label": 1}\n'
CARD = b"""---
configs:
- config_name: boolq
  data_files:
  - {split: train, path: boolq/train.jsonl}
  - {split: validation, path: boolq/validation.jsonl}
---
"""
FILES = {"README.md": CARD, "boolq/train.jsonl": ROW, "boolq/validation.jsonl": ROW * 3}
COMMIT = "a" * 40
DATA_SET = "/datasets/aps/super_glue"


class Hub(ThreadingHTTPServer):
    """A hub with one data set, as far as the package datasets asks for it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.keys: set[str | None] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.keys.add(self.headers.get("Authorization"))
        begin, _, rest = self.path.partition("/resolve/")
        body: bytes | None = None
        if begin == DATA_SET:
            body = FILES.get(rest.partition("/")[2])
        elif begin.startswith(f"/api{DATA_SET}/tree"):
            files = [{"type": "file", "path": name, **_about(data)} for name, data in FILES.items()]
            body = json.dumps(files).encode()
        elif begin.startswith(f"/api{DATA_SET}"):
            names = [{"rfilename": name} for name in FILES]
            body = json.dumps({"id": "aps/super_glue", "sha": COMMIT, "siblings": names}).encode()
        self.send_response(200 if body is not None else 404)
        if body is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_about(body or b"")["oid"]}"')
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    do_HEAD = do_GET  # noqa: N815 - the name that the class calls

    def log_message(self, format: str, *_: object) -> None:
        """Print nothing."""


def _about(data: bytes) -> dict[str, object]:
    return {"size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, name="hub")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_data_are_downloaded_by_fetch_only_and_used_without_a_network(
    hub: Hub, tmp_path: Path
) -> None:
    environment = {
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "PHI2_MODEL": "demo",
    }
    run = ("evaluate", "--tasks", "boolq", "-t", "local", "--yes", "-q", "-o", "run")
    status, out, err = phi2(*run, cwd=tmp_path, **environment)
    assert (status, out) == (2, "")
    assert "download them with phi2 evaluate fetch boolq, or name a folder with --data" in err
    assert hub.asked == []
    status, out, err = phi2("evaluate", "fetch", "boolq", cwd=tmp_path, **environment)
    assert (status, out.split()) == (0, ["task", "items", "boolq", "3"]), err
    assert hub.keys == {None}
    asked = len(hub.asked)
    status, out, err = phi2(*run, cwd=tmp_path, **environment)
    assert (status, err) == (0, "")
    assert "boolq" in out
    assert len(hub.asked) == asked
