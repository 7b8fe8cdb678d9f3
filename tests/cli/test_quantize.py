"""What `flowvox quantize` refuses before it does any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowvox.cli import main
from flowvox.quantizers import encode


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], random_micro: Path):
    """Run the verb on `random_micro` and return its one line of complaint."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["quantize", str(random_micro), *(str(a) for a in arguments)])
        assert ended.value.code == 2
        (line,) = capfd.readouterr().err.splitlines()
        return line

    return run


def test_only_bundles_are_overwritten(refused, random_micro: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "not a bundle" in refused("-r", "int4", "-o", tmp_path, "--overwrite")
    assert (tmp_path / "thesis.txt").exists()
    assert "not a bundle" in refused("-r", "int4", "-o", random_micro, "--overwrite")
    assert (random_micro / "consolidated.safetensors").exists()


def test_a_missing_package_costs_no_time(
    refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(encode, "_installed", lambda package: False)
    monkeypatch.setattr("flowvox.reference.model.load_model", lambda source: pytest.fail("worked"))
    for recipe in ("nf4", "int8-dynamic"):
        line = refused("-r", recipe, "-o", tmp_path / "out")
        assert 'pip install "flowvox[compare]"' in line
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_forgets_tensors(refused, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("{version: 1, name: r, rules: [{component: backbone, format: int4}]}")
    assert "no rule for" in refused("-r", recipe, "-o", tmp_path / "out")
    assert "no rule for" in refused("-r", recipe, "--dry-run")
    assert [file.name for file in tmp_path.iterdir()] == ["r.yaml"]
