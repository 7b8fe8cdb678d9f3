"""Running the command line inside a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowvox.bundle import file_hash
from flowvox.cli import main
from flowvox.manifest import MANIFEST


class Command:
    """`flowvox(...)` -> (exit status, stdout, stderr)."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self._capfd.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *arguments: object) -> dict[str, Any]:
        """The last line of stdout of a run that must succeed."""
        status, out, err = self(*arguments, "--json")
        assert status == 0, err
        return dict(json.loads(out.splitlines()[-1]))

    def refused(self, says: str, *arguments: object) -> None:
        """Status 2, one line on stderr that holds `says`, nothing on stdout."""
        status, out, err = self(*arguments)
        assert status == 2, err
        assert len(err.strip().splitlines()) == 1, err
        assert says in err
        assert out == ""


def edit_manifest(bundle: Path, change: Any) -> None:
    """Apply `change` to the parsed manifest of a bundle."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def overwrite(bundle: Path, name: str, content: bytes) -> None:
    """Replace a file and make the manifest agree, as a bundle made wrongly would."""
    (bundle / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": file_hash(bundle / name)}
    edit_manifest(bundle, lambda m: m["files"].update({name: entry}))
