"""The bundled checkpoint, damaged in one way after the other.

``python -m tests.engine.damaged 500`` tries 500 of them (by default all), and
writes the outcome of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.completion import Request
from phi2sdk.demo import checkpoint_path
from phi2sdk.fold import fold
from phi2sdk.measure.tokens import load_tokenizer
from phi2sdk.prompts import raw
from phi2sdk.sampling import Sampling

Damage = Callable[[Path], None]

DEEP = "[" * 100_000
LONG = "9" * 5000
STRANGE: tuple[str, ...] = (
    *("null", "true", "false", "0", "-1", "1", "3", "1.5", "1e400", "-1e400", "NaN", "Infinity"),
    *('""', '"x"', '"7"', '"\\ud800"', "[]", "[null]", "[[]]", "{}", '{"a": []}', "[1, 2]"),
    *("1000000000000", str(10**400), "-9223372036854775809", "1e-300", "[" * 50 + "]" * 50, LONG),
)
"""Values as JSON writes them."""


def damages(seed: int = 0) -> list[tuple[str, Damage]]:
    """Every damage with its name, in an order that depends on the seed."""
    rng = random.Random(seed)
    found = [*_of_config(), *_of_tokenizer(rng), *_of_weights(rng), *_of_index(), *_of_files(rng)]
    rng.shuffle(found)
    return found


def _of_config() -> Iterator[tuple[str, Damage]]:
    plain = json.loads((checkpoint_path() / "config.json").read_text(encoding="utf-8"))
    for field in plain:
        yield f"config without {field}", _edited("config.json", field, None)
        for value in STRANGE:
            yield f"config {field} = {value[:24]}", _edited("config.json", field, value)
    for field in ("rope_scaling", "partial_rotary_factor", "rope_theta"):
        for value in STRANGE:
            nested = f'{{"{field}": {value}, "rope_type": "default"}}'
            yield (
                f"config rope {field} = {value[:24]}",
                _edited("config.json", "rope_parameters", nested),
            )
    for field in ("eos_token_id", "bos_token_id"):
        for value in STRANGE:
            yield (
                f"generation_config {field} = {value[:24]}",
                _edited("generation_config.json", field, value),
            )
    both = '{"partial_rotary_factor": 0.4, "rope_theta": NaN}'
    yield "config with NaN in rope", _edited("config.json", "rope_parameters", both)


def _of_tokenizer(rng: random.Random) -> Iterator[tuple[str, Damage]]:
    plain = json.loads((checkpoint_path() / "tokenizer.json").read_text(encoding="utf-8"))
    for field in plain:
        yield f"tokenizer without {field}", _edited("tokenizer.json", field, None)
        for value in STRANGE:
            yield f"tokenizer {field} = {value[:24]}", _edited("tokenizer.json", field, value)
    for field in plain["model"]:
        for value in ("null", "-1", "0", '"x"', "[]", "{}", "[[]]", str(10**12), '[["a", "b"]]'):
            yield f"tokenizer model.{field} = {value}", _edited_model(field, value)
    for number in (3071, 3072, 10**6, 2**32 - 1, 2**32, -1):
        vocabulary = {**plain["model"]["vocab"], "extra": number}
        yield f"tokenizer with token {number}", _edited_model("vocab", json.dumps(vocabulary))
    added = {"id": 5000, "content": "<|new|>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}  # fmt: skip
    for number in (0, 3072, 5000, 2**31):
        tokens = json.dumps([{**added, "id": number}])
        yield f"tokenizer with added {number}", _edited("tokenizer.json", "added_tokens", tokens)
    for pattern in ("(", "(a+)+$", "\\p{", "[", "(?<=a*)b", "^"):
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                 "invert": False}  # fmt: skip
        yield (
            f"tokenizer split at {pattern}",
            _edited("tokenizer.json", "pre_tokenizer", json.dumps(split)),
        )
    for kind in ("Nothing", "BertPreTokenizer", "Metaspace", "Whitespace"):
        yield (
            f"tokenizer by {kind}",
            _edited("tokenizer.json", "pre_tokenizer", json.dumps({"type": kind})),
        )
    for kind in ("WordPiece", "Unigram", "WordLevel"):
        yield f"tokenizer model {kind}", _edited("tokenizer.json", "model", f'{{"type":"{kind}"}}')
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst"}
    yield (
        "tokenizer that truncates",
        _edited("tokenizer.json", "truncation", json.dumps(truncation)),
    )
    truncation["stride"] = 5
    yield "tokenizer that strides", _edited("tokenizer.json", "truncation", json.dumps(truncation))
    padding = {"strategy": {"Fixed": 4000}, "direction": "Right", "pad_to_multiple_of": None,
               "pad_id": 9999, "pad_type_id": 0, "pad_token": "x"}  # fmt: skip
    yield "tokenizer that pads", _edited("tokenizer.json", "padding", json.dumps(padding))
    for _ in range(30):
        yield _flipped("tokenizer.json", rng)


def _of_weights(rng: random.Random) -> Iterator[tuple[str, Damage]]:
    name = "model.safetensors"
    size = (checkpoint_path() / name).stat().st_size
    for at in (0, 1, 7, 8, 9, 100, 2000, size - 1):
        yield f"weights cut at {at}", _cut(name, at)
    for length in (0, 1, 2**31, 2**63, 2**64 - 1, size):
        yield (
            f"weights with a header of {length}",
            _with_length(length),
        )
    tensors = _header((checkpoint_path() / name).read_bytes())
    first = next(one for one in tensors if one != "__metadata__")
    chosen = [one for one in tensors if one != "__metadata__"]
    for tensor in rng.sample(chosen, 8):
        yield f"weights without {tensor}", _with_field(tensor, None, None)
        for field, value in (
            *(("dtype", kind) for kind in ("F64", "I8", "I64", "BOOL", "F8_E4M3", "U8", "X", 3)),
            *(("shape", shape) for shape in ([], [0], [-1], [1, 1], [2**40, 2**40], ["a"], None)),
            *(("data_offsets", at) for at in ([0, 0], [0, 4], [4, 0], [-1, 8], [0, 2**63], [], 3)),
        ):
            yield (
                f"weights {field} {value} of {tensor}",
                _with_field(tensor, field, value),
            )
    yield (
        "weights that overlap",
        _with_field(first, "data_offsets", tensors[chosen[1]]["data_offsets"]),
    )
    for kind in ("I16", "U16", "BF16", "F16"):
        yield (
            f"weights all of {kind}",
            _with_types(kind),
        )
    yield (
        "weights with a tensor more",
        _with_header(
            lambda h: h.update(extra={"dtype": "F16", "shape": [0], "data_offsets": [0, 0]})
        ),
    )
    yield "weights of nothing", _with_header(lambda h: h.clear())
    for form in (DEEP, "[]", "null", "{", '{"a":3}', "\\", f'{{"a":{LONG}}}'):
        yield (
            f"weights whose header is {form[:12]}",
            _with_text(form),
        )
    yield "weights of NaN", _rewritten(name, _all_nan)
    for _ in range(30):
        yield _flipped(name, rng)


def _of_index() -> Iterator[tuple[str, Damage]]:
    for named in (
        *("../model.safetensors", "/etc/passwd", "..", ".", "", "/", "a/b.safetensors", "\0"),
        *("x" * 5000, "config.json", "C:\\model.safetensors", "..\\model.safetensors", "missing"),
    ):
        entry = json.dumps({"weight_map": {"model.embed_tokens.weight": named}})
        yield f"index naming {named[:24]!r}", _written("model.safetensors.index.json", entry)
    for value in STRANGE:
        yield (
            f"index weight_map = {value[:24]}",
            _written("model.safetensors.index.json", f'{{"weight_map": {value}}}'),
        )
        yield (
            f"index entry = {value[:24]}",
            _written("model.safetensors.index.json", f'{{"weight_map": {{"a": {value}}}}}'),
        )


def _of_files(rng: random.Random) -> Iterator[tuple[str, Damage]]:
    names = ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors")
    for name in (*names, "model.safetensors.index.json"):
        for form in ("", "null", "[]", "3", "{", DEEP, '{"a":' * 2000, f'{{"a": {LONG}}}', "\xff"):
            yield f"{name} is {form[:12]!r}", _written(name, form)
        yield f"{name} is not UTF-8", _rewritten(name, lambda _: b'{"a": "\xff\xfe"}')
        yield f"{name} is a folder", _replaced(name, lambda path: path.mkdir())
        yield f"{name} links nowhere", _replaced(name, lambda path: path.symlink_to("nowhere"))
        yield f"{name} links to itself", _replaced(name, lambda path: path.symlink_to(path.name))
        yield (
            f"{name} links to /dev/zero",
            _replaced(name, lambda path: path.symlink_to("/dev/zero")),
        )
        yield f"{name} is a pipe", _replaced(name, lambda path: os.mkfifo(path))
        yield f"{name} cannot be read", _replaced(name, lambda path: path.touch(0))
    for name in names:
        yield f"no {name}", _replaced(name, lambda path: None)
    for name in ("config.json", "generation_config.json"):
        for _ in range(10):
            yield _flipped(name, rng)


def _edited(name: str, field: str, value: str | None) -> Damage:
    """A field's value as JSON text; ``None`` takes the field away."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        document.pop(field, None)
        text = json.dumps(document, ensure_ascii=False)
        if value is not None:
            text = f"{text[:-1]}, {json.dumps(field)}: {value}}}"
        (folder / name).write_text(text, encoding="utf-8")

    return damage


def _edited_model(field: str, value: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "tokenizer.json"
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        model.pop(field)
        text = f"{json.dumps(model)[:-1]}, {json.dumps(field)}: {value}}}"
        _edited("tokenizer.json", "model", text)(folder)

    return damage


def _written(name: str, text: str) -> Damage:
    return lambda folder: _discard((folder / name).write_text(text, encoding="utf-8"))


def _rewritten(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes() if path.exists() else b""))

    return damage


def _replaced(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return damage


def _flipped(name: str, rng: random.Random) -> tuple[str, Damage]:
    """A byte of the file's first 4 KiB, or of all of it, is another one."""
    size = (checkpoint_path() / name).stat().st_size
    at, byte = rng.randrange(rng.choice((min(size, 4096), size))), rng.randrange(256)

    def change(data: bytes) -> bytes:
        return data[:at] + bytes([byte]) + data[at + 1 :]

    return f"{name} with byte {at} = {byte}", _rewritten(name, change)


def _cut(name: str, at: int) -> Damage:
    return _rewritten(name, lambda data: data[:at])


def _linked(name: str, target: str) -> Damage:
    return _replaced(name, lambda path: path.symlink_to(target))


def _with_length(length: int) -> Damage:
    """The weights say that their header is so long."""
    return _rewritten("model.safetensors", lambda data: struct.pack("<Q", length) + data[8:])


def _with_text(header: str) -> Damage:
    """The weights have this header, and no data."""
    data = struct.pack("<Q", len(header)) + header.encode()
    return _rewritten("model.safetensors", lambda _: data)


def _with_field(tensor: str, field: str | None, value: object) -> Damage:
    """A tensor's field in the weights' header; without a field, the tensor is left out."""

    def change(header: dict[str, Any]) -> None:
        if field is None:
            del header[tensor]
        else:
            header[tensor][field] = value

    return _with_header(change)


def _with_types(kind: str) -> Damage:
    def change(header: dict[str, Any]) -> None:
        for name, tensor in header.items():
            if name != "__metadata__":
                tensor["dtype"] = kind

    return _with_header(change)


def _header(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    found: dict[str, Any] = json.loads(data[8 : 8 + length])
    return found


def _with_header(change: Callable[[dict[str, Any]], object]) -> Damage:
    def rewrite(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = _header(data)
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return _rewritten("model.safetensors", rewrite)


def _all_nan(data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    return data[: 8 + length] + b"\xff\x7f" * ((len(data) - 8 - length) // 2)


def _discard(_: object) -> None:
    return


def attempt(damage: Damage, folder: Path) -> BaseException | None:
    """The error that a damaged copy of the bundled checkpoint ends in; ``None``: an answer."""
    shutil.copytree(checkpoint_path(), folder)
    damage(folder)
    try:
        asyncio.run(_use(folder))
    except BaseException as error:
        return error
    return None


async def _use(folder: Path) -> None:
    backend = LocalBackend(model=folder, device="cpu", slots=2)
    try:
        await backend.check()
        load_tokenizer(folder).count("A lighthouse.")
        request = Request(raw("A lighthouse stands"), Sampling(max_tokens=3))
        await fold(backend.stream(request), request)
        await backend.score("A lighthouse", " stands")
    finally:
        await backend.close()


def main(count: int | None) -> None:
    """Write each damage with its outcome, then the count of each outcome."""
    kinds: Counter[str] = Counter()
    for name, damage in damages()[:count]:
        with tempfile.TemporaryDirectory() as parent:
            error = attempt(damage, Path(parent) / "model")
        kind = "an answer" if error is None else type(error).__name__
        kinds[kind] += 1
        sys.stdout.write(f"{kind:24} {name}: {error or ''}"[:300] + "\n")
    sys.stdout.write(f"{dict(kinds)}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
