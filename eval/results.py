"""`make results`: measure bundles of one checkpoint and write the tables that the README shows.

Speed comes from `flowvox.eval.bench`, quality from `flowvox.eval.quality`; results.json holds every
number, results.md the table.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowvox import __version__
from flowvox.eval.bench import run_bench
from flowvox.eval.quality import measure
from flowvox.files import write_beside

SENTENCES = Path(__file__).parent / "sentences.txt"


def table(result: dict[str, Any]) -> str:
    """The Markdown table of results.json."""
    quality = {row["bundle"]: row for row in result["quality"]}
    lines = [
        "| artifact | size | RTF | speed-up over torch | first audio | memory | WER | similarity to fp32 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in result["speed"]["runs"]:
        row = quality.get(run["bundle"])
        wer = f"{row['wer']:.1%}" if row else "as fp32"
        similar = row["similarity_to_baseline"] if row else None
        lines.append(
            f"| {label(run['bundle'], result)} | {run['bytes'] / 1e6:.1f} MB "
            f"| {run['rtf']['median']:.3f}{' (noisy)' if run['noisy'] else ''} | {run['speedup']:.1f}x "
            f"| {run['first_audio_seconds'] * 1000:.0f} ms | {run['peak_rss_bytes'] / 1e6:.0f} MB "
            f"| {wer} | {'-' if similar is None else f'{similar:.3f}'} |"
        )
    machine = result["speed"]["machine"]
    utterances = result["quality"][0]["utterances"]
    lines += [
        "",
        f"Measured {result['date']} with `make results`: {machine['processor']}, {machine['threads']} "
        f"threads, onnxruntime {machine['onnxruntime']}; interleaved medians. WER: Whisper tiny.en on "
        f"{utterances} utterances a row. Similarity: Resemblyzer cosine to what the fp32 bundle says "
        "for the same text, voice and seed.",
    ]
    return "\n".join(lines) + "\n"


def label(path: str, result: dict[str, Any]) -> str:
    """The recipe's name; the checkpoint is the torch reference."""
    name = Path(path).name
    return "torch reference" if path == result["checkpoint"] else name.split("-", 1)[-1]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="flowvox.eval.results")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    sentences = SENTENCES.read_text("utf-8").splitlines()
    baseline = next(b for b in arguments.bundles if b.name.endswith("-fp32"))
    result = {
        "flowvox": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "checkpoint": str(arguments.checkpoint),
        "speed": run_bench([arguments.checkpoint, *arguments.bundles], rounds=1),
        "quality": [measure(bundle, baseline, sentences, seeds=1) for bundle in arguments.bundles],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = arguments.checkpoint.name
    write_beside(arguments.out / f"{name}.json", (json.dumps(result, indent=1) + "\n").encode())
    write_beside(arguments.out / f"{name}.md", table(result).encode())
    print(table(result))


if __name__ == "__main__":
    main()
