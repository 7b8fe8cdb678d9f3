"""The recordings that a report plays: the worst utterances of each bundle, beside the baseline's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flowvox.eval.measure import Measured
from flowvox.eval.report.listen import worst
from flowvox.eval.waveform import RATE


def save_recordings(report: dict[str, Any], measured: dict[str, Measured], folder: Path) -> None:
    """Write FLAC files under `folder`/audio and name them in the report's utterances."""
    import soundfile

    (folder / "audio").mkdir(exist_ok=True)
    base = next(bundle for bundle in report["bundles"] if bundle["is_baseline"])
    lines = {
        bundle["path"]: {_key(line): line for line in bundle["utterances"]}
        for bundle in report["bundles"]
    }
    names = [bundle["name"] for bundle in report["bundles"]]
    labels = {
        bundle["path"]: name if names.count(name) == 1 else f"{number}-{name}"
        for number, (name, bundle) in enumerate(zip(names, report["bundles"], strict=True))
    }
    for bundle in report["bundles"]:
        for pair in worst(bundle, base):
            key = _key(pair.utterance)
            for owner in (bundle, base):
                spoken, line = measured[owner["path"]].spoken, lines[owner["path"]].get(key)
                if line is None or key not in spoken or not len(spoken[key].samples):
                    continue
                name = f"audio/{labels[owner['path']]}-{key.replace('/', '-')}.flac"
                samples = np.nan_to_num(np.clip(spoken[key].samples, -1, 1))
                soundfile.write(folder / name, samples, RATE, subtype="PCM_16")
                line["audio"] = name


def _key(line: Any) -> str:
    return f"{line['id']}/{line['voice']}/{line['seed']}"
