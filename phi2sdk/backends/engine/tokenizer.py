"""Text to tokens and back, token by token, never splitting a character."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

from tokenizers import Tokenizer

from phi2sdk.backends.engine.files import from_files
from phi2sdk.errors import ConfigurationError

__all__ = ["Detokenizer", "TextCodec", "read_tokenizer"]


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from its ``tokenizer.json``, which encodes a text whole and as it is.

    Raises:
        ConfigurationError: The file is no tokenizer.
    """
    if not path.is_file():  # a device or a pipe might never end
        raise ConfigurationError(f"{path} is missing, or no file: the tokenizer is needed")
    with from_files(path, "is not a tokenizer"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


class TextCodec:
    """A byte-level BPE tokenizer, as Phi-2 has: every token is a string of bytes.

    Raises:
        ConfigurationError: The file is no tokenizer, not a byte-level one, or of another model.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._path = path
        self._tokenizer = read_tokenizer(path)
        decoder = json.loads(self._tokenizer.to_str()).get("decoder") or {}
        if decoder.get("type") != "ByteLevel":
            raise ConfigurationError(f"{path} is not a byte-level tokenizer, as Phi models have")
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if highest >= vocab_size:
            raise ConfigurationError(
                f"{path} has a token {highest}, and the model's vocabulary ends at "
                f"{vocab_size - 1}: take the tokenizer that belongs to the model"
            )
        self._bytes = [self._token_bytes(id) for id in range(vocab_size)]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; nothing is added in front or behind.

        Raises:
            ConfigurationError: The tokenizer's file does not fit this text.
        """
        with from_files(self._path):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self._bytes[id] for id in ids).decode("utf-8", "replace")

    def piece(self, id: int) -> bytes:
        """The bytes of one token; none for a control token."""
        return self._bytes[id]

    def detokenizer(self) -> Detokenizer:
        """A new reader of one answer's tokens."""
        return Detokenizer(self._bytes)

    def _token_bytes(self, id: int) -> bytes:
        added = self._tokenizer.get_added_tokens_decoder().get(id)
        if added is not None:
            return b"" if added.special else added.content.encode()
        token: str | None = self._tokenizer.id_to_token(id)
        if token is None:
            return b""  # a row of the embedding that no token uses
        return bytes(_BYTE_OF[character] for character in token)


class Detokenizer:
    """Turns tokens into text as they come.

    A character whose bytes are spread over tokens comes out with the last of them.
    """

    def __init__(self, token_bytes: list[bytes]) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, id: int) -> str:
        """The text that is complete with this token; may be empty."""
        return self._decoder.decode(self._bytes[id])

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was not completed."""
        return self._decoder.decode(b"", final=True)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte, inverted.

    Printable Latin-1 bytes stand for themselves, the others for characters from U+0100 on.
    """
    itself = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in set(itself)]
    return {chr(b): b for b in itself} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()
