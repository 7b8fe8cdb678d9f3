"""`python -m flowvox.reference.training STAGE --work DIR`: see README.md for the stages."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch


def corpus(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.corpus import build

    build(arguments.work, processes=arguments.threads)


def dataset(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.dataset import build

    build(arguments.work, arguments.start)


def lm(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.lm import train

    train(arguments.work, arguments.minutes, 2000, 2e-3, 5e-3, arguments.start)


def decoder(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import train_decoder

    train_decoder(arguments.work, arguments.minutes, lr=2e-3)


def refine(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import refine_decoder

    refine_decoder(arguments.work, arguments.minutes, 1e-3, arguments.start)


def encoder(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import train_encoder

    train_encoder(arguments.work, arguments.minutes, lr=2e-3)


def pack(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.pack import pack as write

    write(arguments.work, arguments.out, arguments.start)


def score(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.pack import fingerprint, write_scores
    from flowvox.reference.training.score import score as measure

    scores = measure(arguments.work, arguments.out, arguments.count, seed=1)
    write_scores(arguments.out / "scores.json", fingerprint(arguments.out) | scores)


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    stage.__name__: stage for stage in (corpus, dataset, lm, decoder, refine, encoder, pack, score)
}


def main() -> None:
    """Run one stage; each continues where it was interrupted."""
    parser = argparse.ArgumentParser(prog="flowvox.reference.training")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="corpus and training states")
    parser.add_argument("--out", type=Path, default=Path("models/tiny"), help="the checkpoint")
    parser.add_argument(
        "--start", type=Path, help="checkpoint to continue from (dataset, lm, refine, pack)"
    )
    parser.add_argument(
        "--minutes", type=float, default=30, help="a training's processor time in all"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--count", type=int, default=60, help="sentences to score")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    STAGES[arguments.stage](arguments)


if __name__ == "__main__":
    main()
