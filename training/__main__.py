"""Train a checkpoint, and write it to a folder."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from .checkpoint import new_model, save_checkpoint
from .tokenizer import train_tokenizer
from .train import Plan, Progress, train


def _arguments() -> argparse.Namespace:
    defaults = Plan()
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the checkpoint; created if missing"
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="seed of weights and examples (%(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=defaults.steps, help="optimizer steps (%(default)s)"
    )
    parser.add_argument(
        "--tokenizer-seed",
        type=int,
        default=0,
        help="seed of the tokenizer's corpus; equal seeds give equal tokenizers (%(default)s)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument(
        "--every",
        type=int,
        default=50,
        help="steps between lines of progress (%(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    """Run the training that the command line describes."""
    arguments = _arguments()
    plan = Plan(seed=arguments.seed, steps=arguments.steps)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(plan.seed)
    tokenizer = train_tokenizer(arguments.tokenizer_seed)
    model = new_model(len(tokenizer))
    print(
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens",
        file=sys.stderr,
        flush=True,
    )
    begun = time.monotonic()
    losses: list[float] = []

    def report(progress: Progress) -> None:
        losses.append(progress.loss)
        if progress.step % arguments.every and progress.step != plan.steps:
            return
        seconds = time.monotonic() - begun
        left = seconds / progress.step * (plan.steps - progress.step)
        print(
            f"step {progress.step}/{plan.steps}  loss {sum(losses) / len(losses):.3f} nats/token  "
            f"{progress.tokens / seconds:,.0f} tokens/s  {left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )
        losses.clear()

    train(model, tokenizer, plan, report)
    save_checkpoint(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
