"""`python -m flowvox.reference.training STAGE --work DIR`: see README.md for the stages."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from flowvox.config import ModelConfig


def _judged() -> set[str]:
    """`text_hash` of everything that the suites judge."""
    from flowvox.eval.suite import list_suites, load_suite
    from flowvox.reference.training.text import parts_of, text_hash

    judged = [s.text for name in list_suites() for s in load_suite(name).sentences]
    return {text_hash(part) for text in judged for part in parts_of(text)}


def corpus(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.corpus import build, read_vocabulary

    has_one = (arguments.work / "vocabulary.json").exists()  # of `unpack`
    known = read_vocabulary(arguments.work) if has_one else None
    build(arguments.work, _judged(), known, arguments.threads)


def teacher(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.packages import gather

    gather(arguments.work)


def speech(arguments: argparse.Namespace) -> None:
    import onnx

    from flowvox.reference.training.corpus import Corpus
    from flowvox.reference.training.kokoro import Kokoro, read_styles, read_weights
    from flowvox.reference.training.speech import Speech, speak

    model = onnx.load(str(arguments.work / "kokoro.onnx"))
    kokoro, styles = Kokoro(read_weights(model)), read_styles(arguments.work / "voices")
    speak(arguments.work, kokoro, styles, arguments.minutes * 60, arguments.device)
    held = Corpus.load(arguments.work / "corpus.npz").held_out
    np.save(arguments.work / "held_out.npy", held[Speech.load(arguments.work / "speech").sentence])


def semantics(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.semantics import fit
    from flowvox.reference.training.speech import Speech

    codec = ModelConfig.load(arguments.work / "params.json").codec
    size, dim = codec.semantic_codebook_size, codec.semantic_dim
    made = fit(Speech.load(arguments.work / "speech"), size, dim, arguments.device)
    made.save(arguments.work / "semantics.npz")


def align(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.alignment import build

    build(arguments.work, arguments.threads)


def codec(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import train

    a = arguments
    train(a.work, a.minutes, 1.5e-3, a.batch, a.device, decoder_only=False)


def encode(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import encode as run

    run(arguments.work, arguments.device)


def decoder(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.codec import train

    a = arguments
    train(a.work, a.minutes, 6e-4, a.batch, a.device, decoder_only=True)


def lm(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.lm import train

    train(arguments.work, arguments.minutes, arguments.positions, arguments.device)


def export(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.export import export as write
    from flowvox.reference.training.speech import PRESETS

    write(arguments.work, tuple(PRESETS))


def locked_space(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.locked.space import fit

    fit(arguments.work, arguments.sentences, arguments.threads)


def locked(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.locked.corpus import build

    build(arguments.work, _judged(), arguments.sentences, arguments.threads)


def locked_front(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.locked.front import train_front

    train_front(arguments.work, arguments.minutes, arguments.sentences, arguments.threads)


def locked_decoder(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.locked.codec import train_decoder

    a = arguments
    train_decoder(a.work, a.minutes, a.sentences, a.threads)


def locked_encoder(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.locked.codec import train_encoder

    train_encoder(arguments.work / "locked", arguments.minutes)


def adapt(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.lm import adapt as train

    a = arguments
    train(a.work, a.minutes, a.positions, a.device)


def locked_export(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.export import export as write
    from flowvox.reference.training.locked.corpus import VOICES

    write(arguments.work / "locked", VOICES, before=arguments.work / "export")


def pack(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.pack import pack as write

    write(arguments.work / "locked", arguments.out)


def unpack(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.unpack import unpack as read

    read(arguments.out, arguments.work)


def score(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.score import score as measure

    print(measure(arguments.work, arguments.out))


def curves(arguments: argparse.Namespace) -> None:
    from flowvox.reference.training.curves import draw_all

    print(*draw_all(arguments.work), sep="\n")


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    stage.__name__.replace("_", "-"): stage
    for stage in (
        corpus, teacher, speech, semantics, align, codec, encode, decoder, lm, export,
        locked_space, locked, locked_front, locked_decoder, locked_encoder, adapt, locked_export,
        pack, unpack, score, curves,
    )
}  # fmt: skip


def main() -> None:
    """Run one stage; trainings continue where they were interrupted."""
    parser = argparse.ArgumentParser(prog="flowvox.reference.training")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--work", type=Path, required=True, help="corpus and training states")
    parser.add_argument("--out", type=Path, default=Path("models/tiny"), help="the checkpoint")
    parser.add_argument("--minutes", type=float, default=30, help="a stage's time in all")
    parser.add_argument("--sentences", type=int, default=17000, help="that the locked stages speak")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="crops of a codec step")
    parser.add_argument("--positions", type=int, default=3000, help="of a language model step")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)  # it plans anew for every shape
    STAGES[arguments.stage](arguments)


if __name__ == "__main__":
    main()
