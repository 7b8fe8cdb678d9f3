"""The layout: links to the rooms, who may import whom, and what importing the runtime costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOMS = ("reference", "exporters", "quantizers", "runtime", "eval")
# Who may import whom: the room's own packages, the rooms it may see, and third-party packages.
RULES = {
    "flowvox": ((), {"numpy", "tiktoken", "yaml"}),
    "runtime": (("runtime",), {"numpy", "onnxruntime", "soundfile"}),
    "quantizers": (
        ("quantizers", "reference"),
        {"numpy", "scipy", "torch", "bitsandbytes", "ml_dtypes"},
    ),
    "exporters": (
        ("exporters", "quantizers"),
        {"numpy", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "optimum", "gguf"},
    ),
    "reference": (("reference",), {"numpy", "torch"}),
}
HEAVY = {
    "torch", "onnx", "onnxscript", "onnx_ir", "gguf", "transformers", "optimum", "safetensors",
    "scipy", "pandas", "librosa", "bitsandbytes", "ml_dtypes", "faster_whisper", "typer", "rich",
}  # fmt: skip


def python_files(folder: Path) -> list[Path]:
    """Every .py below `folder`, the links to the rooms not followed."""
    return [f for f in folder.rglob("*.py") if not any(p.is_symlink() for p in f.parents)]


def room_of(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).parts
    if parts[0] != "src":
        return "training" if "training" in parts else parts[0]
    return "cli" if parts[2] == "cli" else "flowvox"


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a piece of code imports when it runs; imports for type checkers are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module == "flowvox":
                yield from (f"flowvox.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield from imported(node)


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """Those of the top level only: what importing the module itself pulls in."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from imported(ast.Module([node], []))


def room_imported(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "flowvox" and len(parts) > 1 and parts[1] in ROOMS else None


FILES = [f for folder in ("src", *ROOMS) for f in python_files(REPOSITORY / folder)]


@pytest.mark.parametrize("room", ROOMS)
def test_the_links_lead_to_the_rooms(room: str) -> None:
    link = REPOSITORY / "src" / "flowvox" / room
    assert link.is_symlink()
    assert not Path(link.readlink()).is_absolute()
    assert link.resolve() == REPOSITORY / room
    assert (link / "__init__.py").is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(REPOSITORY)))
def test_imports_follow_the_rules(file: Path) -> None:
    tree, room = ast.parse(file.read_text(encoding="utf-8")), room_of(file)
    modules = set(imported(tree))
    assert not any(module.startswith(".") for module in modules), "relative import"
    assert not {module.split(".")[0] for module in modules} & set(ROOMS), "import flowvox.<room>"
    if room in {"flowvox", "cli"}:  # the command line imports rooms inside its functions only
        assert not [module for module in imported_at_once(tree) if room_imported(module)]
    if room == "runtime":
        assert not any(module.startswith("flowvox.cli") for module in modules)
    if room in RULES:
        rooms, packages = RULES[room]
        assert {room_imported(module) for module in modules} <= {None, *rooms}
        tops = {module.split(".")[0] for module in modules}
        assert tops - set(sys.stdlib_module_names) - {"flowvox"} <= packages


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(REPOSITORY)))
def test_files_stay_small(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 500


def modules_after(code: str) -> set[str]:
    """Top-level names of everything that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_runtime_pulls_in_nothing_heavy() -> None:
    runtime = [f"flowvox.runtime.{f.stem}" for f in (REPOSITORY / "runtime").glob("[a-z]*.py")]
    loaded = modules_after(f"import flowvox, {', '.join(runtime)}\nflowvox.TTS, flowvox.Audio")
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY


def test_the_package_itself_is_light() -> None:
    assert not modules_after("import flowvox") & (HEAVY | {"numpy", "onnxruntime"})


def test_the_command_line_starts_without_the_rooms() -> None:
    loaded = modules_after("import flowvox.cli")
    assert not loaded & (HEAVY - {"typer", "rich"} | {"numpy", "onnxruntime"})
