"""Train a byte-level BPE tokenizer on text of the grammar.

Words of the grammar become single tokens, and names are split into pieces. Any other UTF-8 text is
encoded as bytes, so that no text is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .formats import example

END_OF_TEXT = "<|endoftext|>"


def _corpus(seed: int, examples: int) -> Iterator[str]:
    rng = Random(seed)
    for _ in range(examples):
        drawn = example(rng, copy_share=0.05)
        yield drawn.prompt + drawn.answer


def train_tokenizer(
    seed: int, *, vocab_size: int = 3072, examples: int = 20_000
) -> PreTrainedTokenizerFast:
    """Train a tokenizer whose only special token, `END_OF_TEXT`, has id 0."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(seed, examples), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
