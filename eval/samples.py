"""`make samples`: the same sentences by every voice and artifact, as FLAC files, and a page of scores.

    python -m flowvox.eval.samples artifacts/tiny-fp32 artifacts/tiny-int8 -o docs/audio

The texts are of the suite `smoke`, which no training has seen. Similarity is to the mean voice of the
samples of the first artifact.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from flowvox.eval import free_level
from flowvox.eval.ahead import Pool, Requests, most_jobs
from flowvox.eval.artifact import Artifact, Spoken, open_artifact
from flowvox.eval.cache import Cache, default_folder
from flowvox.eval.ears import Ears, Heard
from flowvox.eval.error_rate import Errors, error_rate
from flowvox.eval.harness import check_comparable
from flowvox.eval.measure import speak
from flowvox.eval.statistics import Rows
from flowvox.eval.suite import load_suite
from flowvox.eval.suite_data import Sentence, Utterance
from flowvox.eval.waveform import RATE
from flowvox.files import write_beside

SUITE = "smoke"
TEXTS = ("plain-01", "plain-02", "numbers-01", "questions-01", "names-01")
SEED = 0
SECONDS = 15.0


@dataclass(frozen=True)
class Sample:
    """One recording: who said what how, and what was heard."""

    recipe: str
    utterance: Utterance
    speech: Spoken
    heard: Heard
    rows: dict[str, Rows]

    @property
    def file(self) -> str:
        """For instance "heart-plain-01-int4.flac"."""
        return f"{self.utterance.voice}-{self.utterance.sentence.id}-{self.recipe}.flac"


def record(artifacts: Sequence[Artifact], cache: Cache, ears: Ears) -> list[Sample]:
    """Every text by every voice and artifact. Raises FlowvoxError if they are of several models."""
    first, *others = artifacts
    for other in others:
        check_comparable(other, first)
    wanted = utterances(first.voices)
    base = [speak(first, utterance, SECONDS, cache) for utterance in wanted]
    listened = [ears.listen(said.samples, cache) for said in base]
    heard = list(zip(wanted, listened, strict=True))
    return [
        _sample(artifact, utterance, said, heard, cache, ears)
        for artifact in artifacts
        for utterance, said in zip(wanted, base, strict=True)
    ]


def utterances(voices: Sequence[str]) -> list[Utterance]:
    """Every text by every voice."""
    sentences = {sentence.id: sentence for sentence in load_suite(SUITE).sentences}
    return [Utterance(sentences[text], voice, SEED) for voice in voices for text in TEXTS]


def _sample(
    artifact: Artifact,
    utterance: Utterance,
    base: Spoken,
    others: Sequence[tuple[Utterance, Heard]],
    cache: Cache,
    ears: Ears,
) -> Sample:
    speech = speak(artifact, utterance, SECONDS, cache)
    heard = ears.listen(speech.samples, cache)
    voice = free_level.voice_centroid(others, utterance)
    rows = free_level.judge(utterance.sentence.text, speech, base, heard, voice)
    return Sample(artifact.recipe, utterance, speech, heard, rows)


def write(samples: Sequence[Sample], folder: Path) -> None:
    """FLAC files and README.md; files of earlier samples are removed."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as fresh:
        for sample in samples:
            audio = np.nan_to_num(np.clip(sample.speech.samples, -1, 1))
            soundfile.write(
                Path(fresh) / sample.file, audio, RATE, subtype="PCM_16", compression_level=1.0
            )
        for old in folder.glob("*.flac"):
            old.unlink()
        for new in Path(fresh).iterdir():
            new.rename(folder / new.name)
    write_beside(folder / "README.md", page(samples).encode())


def page(samples: Sequence[Sample]) -> str:
    """Texts, links and scores, voice by voice."""
    recipes = list(dict.fromkeys(sample.recipe for sample in samples))
    voices = list(dict.fromkeys(sample.utterance.voice for sample in samples))
    texts = {sample.utterance.sentence.id: sample.utterance.sentence for sample in samples}
    lines = [
        "# Samples",
        "",
        f"What `models/tiny` says, free-running, in {', '.join(recipes)}: the same sentences, which "
        f"its training has not seen, with the same noise (seed {SEED}). Made by `make samples`, "
        "together with this page.",
        "",
        *(f"{number}. {sentence.text}" for number, sentence in enumerate(texts.values(), 1)),
        "",
        f"WER: Whisper tiny.en, over the {len(texts)} sentences of a voice. DistillMOS: predicted "
        "naturalness, 1 to 5, mean. Similarity: cosine of Resemblyzer vectors to the voice's mean in "
        f"{recipes[0]}.",
        "",
        *_table(samples, voices, recipes),
        "",
        "## Listen",
        "",
        *(line for voice in voices for line in _links(samples, voice, recipes, texts)),
    ]
    return "\n".join(lines)


def _table(samples: Sequence[Sample], voices: list[str], recipes: list[str]) -> list[str]:
    lines = ["| voice | recipe | WER | DistillMOS | similarity |", "|---|---|---:|---:|---:|"]
    for voice in voices:
        for recipe in recipes:
            own = [s for s in samples if (s.utterance.voice, s.recipe) == (voice, recipe)]
            lines.append(f"| {voice} | {recipe} | {' | '.join(_scores(own))} |")
    return lines


def _scores(samples: Sequence[Sample]) -> list[str]:
    """WER of all words together, means of the others; "-" where nothing was measured."""
    words = [Errors(*map(int, s.rows["wer"][0])) for s in samples if "wer" in s.rows]
    found = [f"{100 * error_rate(words):.1f} %" if words else "-"]
    for name, digits in (("mos", 2), ("similarity", 3)):
        values = [s.rows[name][0] for s in samples if name in s.rows]
        found.append(f"{np.mean(values):.{digits}f}" if values else "-")
    return found


def _links(
    samples: Sequence[Sample], voice: str, recipes: list[str], texts: dict[str, Sentence]
) -> list[str]:
    """A table of files for each sentence, and what was heard where it was not the text."""
    lines = [f"### {voice}", "", f"| | {' | '.join(recipes)} |", f"|---|{'---|' * len(recipes)}"]
    for number, text in enumerate(texts, 1):
        cells = []
        for recipe in recipes:
            sample = next(
                s for s in samples
                if (s.utterance.voice, s.utterance.sentence.id, s.recipe) == (voice, text, recipe)
            )  # fmt: skip
            seconds = len(sample.speech.samples) / RATE
            cells.append(f"[{seconds:.1f} s]({sample.file}){_misheard(sample)}")
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return [*lines, ""]


def _misheard(sample: Sample) -> str:
    if "wer" not in sample.rows or not sample.rows["wer"][0, 0]:
        return ""
    return " heard: *" + str(sample.heard.text).replace("|", " ") + "*"


def main() -> None:
    """Record with the caches and listeners of `flowvox eval`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    artifacts = [open_artifact(path) for path in arguments.artifacts]
    suite, cache, ears = load_suite(SUITE), Cache(default_folder()), Ears.open()
    suite = replace(suite, limits=replace(suite.limits, max_seconds=SECONDS))
    said = utterances(artifacts[0].voices)
    requests = [Requests(artifact.path, None, said) for artifact in artifacts]
    Pool(suite, cache, ears, most_jobs()).speak(requests, lambda: None)
    write(record(artifacts, cache, ears), arguments.out)


if __name__ == "__main__":
    main()
