"""Check that unchanged clients work with ``phi2 serve``, each in an environment of its own.

    python bench/serve_clients.py [--json FILE] [--client NAME ...]

The gateway serves the bundled checkpoint in float32. The environments are made on first use
(``bench/peers/NAME.txt``; the one for Node with npm), outside of the repository. lm-eval's
log-likelihoods are compared with those of the local backend.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import HERE, Report, environments, parser, peer_python
from serve_client import CLIENTS, TEXTS
from serve_process import Server, free_port

from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.demo import checkpoint_path

MODEL = "demo"
NODE = "openai (Node)"
NODE_VERSION = "openai@6"
CONFIG = '[targets.demo]\nbackend = "local"\nmodel = "demo"\ndtype = "float32"\n'
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 1}


def node_folder() -> Path:
    """Return a folder in which npm has installed the client for Node."""
    folder = environments() / "serve-node"
    if not (folder / "node_modules" / "openai").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder]
        subprocess.run([*command, NODE_VERSION], check=True)
    return folder


def use(name: str, url: str, folder: str) -> dict[str, Any]:
    """Run the checks of a client, and return its version and results."""
    if name == NODE:
        place = node_folder()
        shutil.copy(HERE / "serve_client.mjs", place)
        command = ["node", "serve_client.mjs", url, MODEL]
    else:
        place = Path(folder)
        where = str(checkpoint_path()) if name == "lm-eval" else folder
        script = str(HERE / "serve_client.py")
        command = [str(peer_python(name)), script, name, url, MODEL, where]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(" ".join(done.stderr.split())[-300:] or "it printed nothing")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


async def expected() -> list[float]:
    """Return the log-likelihoods of the local backend for the texts of lm-eval."""
    backend = LocalBackend(model="demo", dtype="float32")
    try:
        model = await backend.load()
        pairs = []
        for context, continuation in TEXTS:
            whole, before = model.encode(context + continuation), model.encode(context)
            pairs.append((whole[: len(before)], whole[len(before) :]))
        return [score.total for score in await backend.score_many(pairs)]
    finally:
        await backend.close()


def main() -> int:
    """Run the checks, and return 0 if all of them hold."""
    made = parser(__doc__)
    names = [*CLIENTS, NODE]
    made.add_argument("--client", action="append", choices=names, help="check only this client")
    args = made.parse_args()
    report = Report("serve_clients", args, ["phi2sdk"])
    with tempfile.TemporaryDirectory(prefix="phi2-clients-") as folder:
        config = Path(folder) / "phi2.toml"
        config.write_text(CONFIG, encoding="utf-8")
        port = free_port()
        command = [sys.executable, "-m", "phi2sdk.cli", "serve", "--config", str(config)]
        with Server([*command, "--port", str(port)], port, BODY, core=None) as server:
            for name in args.client or names:
                try:
                    found = use(name, f"{server.url}/v1", folder)
                except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                    report.check(f"{name} works", None, ">=", 1, reason=str(error))
                    continue
                for check, result in found["checks"].items():
                    report.row(client=name, version=found["version"], check=check, result=result)
                works = [result == "works" for result in found["checks"].values()]
                report.check(f"{name} works", sum(works) / len(works), ">=", 1)
                if "loglikelihoods" in found:
                    pairs = zip(found["loglikelihoods"], asyncio.run(expected()), strict=True)
                    error_nats = max(abs(said[0] - right) for said, right in pairs)
                    report.check("lm-eval loglikelihood error", error_nats, "<=", 1e-4)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
