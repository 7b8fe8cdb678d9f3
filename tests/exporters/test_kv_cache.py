"""Bundles with a KV cache in 16 or 8 bits: the same graph otherwise, a cache of a half or a quarter."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from tests.cli.command import edit_manifest
from tests.conftest import export

from flowvox import TTS
from flowvox.bundle import Bundle
from flowvox.errors import BundleError, RecipeError
from flowvox.graphs import BACKBONE, cache_specs
from flowvox.recipe import Recipe, load_recipe
from flowvox.runtime.backbone import BackboneRunner
from flowvox.runtime.prepack import prepack

FORMATS = ("float16", "int8")


def recipe(kv_cache: str, **more: object) -> dict[str, object]:
    rules = [{"component": "*", "format": "float32"}]
    return {"version": 1, "name": "mine", "kv_cache": kv_cache, "rules": rules} | more


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, random_micro: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("caches")
    for name in FORMATS:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe(name)))
    return {name: export(random_micro, str(folder / f"{name}.yaml"), folder / name)
            for name in FORMATS}  # fmt: skip


def hidden(path: Path) -> np.ndarray:
    """A prompt of 20 positions, then 20 more one by one, [21, dim]."""
    tts = TTS.load(path, device="cpu", threads=1)
    rows = np.random.default_rng(0).standard_normal((40, tts.config.backbone.dim), dtype=np.float32)
    runner = BackboneRunner(tts.engine._sessions[BACKBONE], tts.config, 40)
    return np.concatenate(
        [runner(rows[:20]).numpy()[-1:], *(runner(r[None]).numpy() for r in rows[20:])]
    )


@pytest.mark.parametrize(("name", "largest"), [("float16", 1e-3), ("int8", 0.05)])
def test_hidden_states_are_those_of_the_float32_cache_to_its_rounding(
    bundles: dict[str, Path], micro_bundles: dict[str, Path], name: str, largest: float
) -> None:
    found, expected = hidden(bundles[name]), hidden(micro_bundles["fp32"])
    error = np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())
    assert 0 < error < largest


@pytest.mark.parametrize(("name", "bytes_each"), [("float16", 2), ("int8", 1)])
def test_the_cache_takes_a_half_or_a_quarter(
    bundles: dict[str, Path], name: str, bytes_each: int
) -> None:
    bundle = Bundle.open(bundles[name])
    assert bundle.manifest["recipe"]["kv_cache"] == name
    tts = TTS.load(bundles[name], device="cpu", threads=1)
    runner = BackboneRunner(tts.engine._sessions[BACKBONE], tts.config, 33)
    specs = cache_specs(bundle.config, "past")
    shape = [33 if isinstance(axis, str) else axis for axis in specs[0].shape]
    held = sum(value.numpy().nbytes for value in runner._cache.values())
    assert held == len(specs) * math.prod(shape) * bytes_each


def test_scales_leave_room_for_larger_values(bundles: dict[str, Path]) -> None:
    """Both channels of a rotated pair of a key have one scale."""
    model = onnx.load(bundles["int8"] / "backbone.onnx")
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer
              if ".cache." in t.name}  # fmt: skip
    config = Bundle.open(bundles["int8"]).config.backbone
    assert len(scales) == 2 * config.n_layers
    for name, scale in scales.items():
        assert scale.shape == (1, config.n_kv_heads, 1, config.head_dim)
        assert scale.min() > 0
        if "key" in name:
            np.testing.assert_array_equal(scale[..., 0::2], scale[..., 1::2])


@pytest.mark.parametrize("name", FORMATS)
def test_they_speak_and_pre_pack(
    bundles: dict[str, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def say() -> np.ndarray:
        return TTS.load(bundles[name], device="cpu").say("Hello.", max_seconds=0.4).samples

    before = say()
    prepack(Bundle.open(bundles[name]))
    np.testing.assert_array_equal(say(), before)


def test_a_recipe_without_the_key_follows_what_it_computes_in() -> None:
    assert load_recipe("int4").kv_cache == "float32"
    assert load_recipe("int4-gpu").kv_cache == "float16"
    assert "kv_cache" not in load_recipe("int4-gpu").to_dict()
    again = Recipe.from_dict(recipe("int8"), "x")
    assert Recipe.from_dict(again.to_dict(), "x") == again


@pytest.mark.parametrize(
    ("data", "says"),
    [(recipe("int4"), "float32, float16, int8"),
     (recipe("int8", compute="float16"), "float16, too")],
)  # fmt: skip
def test_others_are_refused(data: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe.from_dict(data, "x")


def test_a_manifest_that_tells_another_cache_is_refused(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundles["int8"], tmp_path / "copy"))
    for told in ("float16", "bits", 3):
        edit_manifest(copy, lambda m, told=told: m["recipe"].update(kv_cache=told))
        with pytest.raises(BundleError, match=r"kv_cache|its graphs"):
            Bundle.open(copy)
