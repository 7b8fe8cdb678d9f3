"""`python -m flowvox.reference.training STAGE --work DIR`: see README.md for the stages."""

from __future__ import annotations

import argparse
from pathlib import Path

STAGES = ("corpus",)


def main() -> None:
    """Run one stage; each continues where it was interrupted."""
    parser = argparse.ArgumentParser(prog="flowvox.reference.training")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and checkpoints")
    arguments = parser.parse_args()
    if arguments.stage == "corpus":
        from flowvox.reference.training.corpus import build

        build(arguments.work)


if __name__ == "__main__":
    main()
