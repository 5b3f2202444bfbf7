"""Convert text to tokens, and tokens to text one at a time without splitting a character."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from tokenizers import Tokenizer

from phi2sdk.backends.engine.files import from_files
from phi2sdk.errors import ConfigurationError

__all__ = ["Detokenizer", "TextCodec", "read_tokenizer"]


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer in a ``tokenizer.json``, without truncation and padding.

    Raises:
        ConfigurationError: The file is missing or does not contain a tokenizer.
    """
    if not path.is_file():  # reading a device or a pipe might never end
        raise ConfigurationError(
            f"{path} is missing or is not a file. Give the path of a tokenizer.json"
        )
    with from_files(path, "is not a tokenizer"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


class TextCodec:
    """A byte-level BPE tokenizer like that of Phi-2, in which every token is a string of bytes.

    Raises:
        ConfigurationError: The file does not contain a byte-level tokenizer of this model.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._path = path
        self._tokenizer = read_tokenizer(path)
        decoder = json.loads(self._tokenizer.to_str()).get("decoder") or {}
        if decoder.get("type") != "ByteLevel":
            raise ConfigurationError(
                f"{path} is not a byte-level tokenizer, which Phi models require. Use the "
                "tokenizer.json of the model"
            )
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= vocab_size:
            raise ConfigurationError(
                f"{path} has a token {highest}, and the model's vocabulary ends at "
                f"{vocab_size - 1}. Use the tokenizer.json of the model"
            )
        self._bytes = [self._token_bytes(id) for id in range(vocab_size)]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without special tokens at its ends.

        Raises:
            ConfigurationError: The tokenizer fails on this text.
        """
        with from_files(self._path):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of tokens, with U+FFFD for invalid UTF-8."""
        return b"".join(self._bytes[id] for id in ids).decode("utf-8", "replace")

    def piece(self, id: int) -> bytes:
        """Return the bytes of one token, none for a control token."""
        return self._bytes[id]

    def detokenizer(self) -> Detokenizer:
        """Return a detokenizer for the tokens of one answer."""
        return Detokenizer(self._bytes)

    def _token_bytes(self, id: int) -> bytes:
        added = self._tokenizer.get_added_tokens_decoder().get(id)
        if added is not None:
            return b"" if added.special else added.content.encode()
        token: str | None = self._tokenizer.id_to_token(id)
        if token is None:
            return b""  # a row of the embedding without a token
        return bytes(_BYTE_OF[character] for character in token)


class Detokenizer:
    """Convert the tokens of one answer to text, one token at a time.

    A character whose bytes are in several tokens is returned with the last of these tokens.
    """

    def __init__(self, token_bytes: list[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        """Return the text that this token completes, which may be empty."""
        return self._decoder.decode(self._bytes[id])

    def flush(self) -> str:
        """Return the remaining text at the end: U+FFFD for an incomplete character."""
        return self._decoder.decode(b"", final=True)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte for each character of GPT-2's printable alphabet.

    Printable Latin-1 bytes are represented by themselves, the others by characters from U+0100.
    """
    itself = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in set(itself)]
    return {chr(b): b for b in itself} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()
