"""`make results`: measure the bundles of models/tiny, write docs/results/ and the README's table.

Speed comes from `flowvox.eval.bench`, quality from `flowvox.eval.quality` on two sets of sentences:
the script that the model has rehearsed (`script.txt` beside the weights) and unseen ones.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowvox import __version__
from flowvox.errors import FlowvoxError
from flowvox.eval.bench import run_bench
from flowvox.eval.quality import Request, measure, speak_all
from flowvox.files import write_beside

SENTENCES = Path(__file__).parent / "sentences.txt"
SCRIPT_COUNT = {"heart": 24, "hart": 12}  # the script lists heart's sentences first, hart's last
MARKERS = ("<!-- results: make results -->\n", "<!-- end of results -->")


def requests_for(checkpoint: Path) -> dict[str, list[Request]]:
    """The rehearsed and the unseen requests."""
    script = (checkpoint / "script.txt").read_text("utf-8").splitlines()
    heart, hart = SCRIPT_COUNT["heart"], SCRIPT_COUNT["hart"]
    chosen = [(text, "heart") for text in script[:heart]] + [
        (text, "hart") for text in script[-hart:]
    ]
    unseen = [(text, "heart") for text in SENTENCES.read_text("utf-8").splitlines()]
    return {
        "script": [(text, voice, 0) for text, voice in chosen],
        "unseen": [(text, voice, 0) for text, voice in unseen],
    }


def table(result: dict[str, Any]) -> str:
    """The Markdown table of the measurements."""
    lines = [
        "| artifact | size | RTF | against torch | ms/frame | first audio | load | memory "
        "| WER, script | WER, unseen | similarity to fp32 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in result["speed"]["runs"]:
        row = result["quality"].get(run["bundle"])
        quality = (
            f"{row['script']['wer']:.1%} | {row['unseen']['wer']:.0%} "
            f"| {row['script']['similarity_to_baseline']:.3f}"
            if row
            else "- | - | -"
        )
        name = Path(run["bundle"]).name.split("-", 1)[-1]
        lines.append(
            f"| {name if row else 'torch reference'} | {run['bytes'] / 1e6:.1f} MB "
            f"| {run['rtf']['median']:.3f}{' (noisy)' if run['noisy'] else ''} | {run['speedup']:.1f}x "
            f"| {sum(run['ms_per_frame'].values()):.1f} | {run['first_audio_seconds'] * 1000:.0f} ms "
            f"| {run['load_seconds']:.2f} s | {run['peak_rss_bytes'] / 1e6:.0f} MB | {quality} |"
        )
    machine, first = result["speed"]["machine"], next(iter(result["quality"].values()))
    lines += [
        "",
        f"Measured {result['date']} by `make results`: {machine['processor']}, "
        f"{machine['threads']} threads, onnxruntime {machine['onnxruntime']}; medians of interleaved "
        "runs, RTF = compute time / audio time. WER: Whisper tiny.en, "
        f"{first['script']['utterances']} sentences of the model's rehearsed script (seen in training) "
        f"and {first['unseen']['utterances']} unseen ones, one seed. Similarity: Resemblyzer cosine to "
        "what the fp32 bundle says for the same script sentence, voice and seed.",
    ]
    return "\n".join(lines) + "\n"


def write_readme(readme: Path, text: str) -> None:
    """Replace what stands between the markers. Raises FlowvoxError if they are missing."""
    content = readme.read_text("utf-8")
    before, found, rest = content.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not found or not end:
        raise FlowvoxError(f"{readme}: the result markers are missing")
    write_beside(readme, f"{before}{MARKERS[0]}{text}{MARKERS[1]}{after}".encode())


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="flowvox.eval.results")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--readme", type=Path, required=True)
    arguments = parser.parse_args()
    baseline = next(b for b in arguments.bundles if b.name.endswith("-fp32"))
    speed = run_bench([arguments.checkpoint, *arguments.bundles], rounds=2)
    quality: dict[str, dict[str, Any]] = {str(bundle): {} for bundle in arguments.bundles}
    for kind, requests in requests_for(arguments.checkpoint).items():
        expected = speak_all(baseline, requests)
        for bundle in arguments.bundles:
            spoken = expected if bundle == baseline else speak_all(bundle, requests)
            quality[str(bundle)][kind] = measure(spoken, expected, requests)
    result = {
        "flowvox": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "speed": speed,
        "quality": quality,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = arguments.checkpoint.name
    write_beside(arguments.out / f"{name}.json", (json.dumps(result, indent=1) + "\n").encode())
    write_beside(arguments.out / f"{name}.md", table(result).encode())
    write_readme(arguments.readme, table(result))
    print(table(result))


if __name__ == "__main__":
    main()
