"""The exported graphs: their contract, their numbers, their state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.conftest import export, micro_params

from flowvox.bundle import Bundle
from flowvox.config import ModelConfig
from flowvox.graphs import graph_specs
from flowvox.reference.random_checkpoint import write_random_checkpoint
from flowvox.reference.speak import ReferenceTTS
from flowvox.runtime.backbone import BackboneRunner
from flowvox.runtime.codec import CodecStream, decode_whole
from flowvox.runtime.engine import Engine
from flowvox.schedule import Sampling


@pytest.fixture(scope="module")
def engine(micro_bundles: dict[str, Path]) -> Engine:
    return Engine(Bundle.open(micro_bundles["fp32"]), "cpu", threads=1)


@pytest.fixture(scope="module")
def reference(random_micro: Path) -> ReferenceTTS:
    return ReferenceTTS.load(random_micro)


@pytest.fixture(scope="module")
def codes(engine: Engine) -> np.ndarray:
    rng, c = np.random.default_rng(0), engine.config.codec
    acoustic = rng.integers(c.acoustic_codebook_size, size=(23, c.acoustic_dim))
    semantic = rng.integers(c.semantic_codebook_size, size=(23, 1))
    return np.concatenate([semantic, acoustic], axis=1).astype(np.int32)


@pytest.mark.parametrize("recipe", ["fp32", "int4"])
def test_signatures_are_the_contract(micro_bundles: dict[str, Path], recipe: str) -> None:
    folder = micro_bundles[recipe]
    config = ModelConfig.from_dict(Bundle.open(folder).manifest["model"]["params"])
    for name, spec in graph_specs(config, encoder=True).items():
        graph = onnx.load(folder / f"{name}.onnx", load_external_data=False).graph
        for values, declared in ((graph.input, spec.inputs), (graph.output, spec.outputs)):
            found = [
                (v.name, tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim))
                for v in values
            ]
            assert found == [(s.name, s.shape) for s in declared]


def test_every_check_is_in_the_manifest(micro_bundles: dict[str, Path]) -> None:
    for folder in micro_bundles.values():
        checks = Bundle.open(folder).manifest["checks"]
        assert set(checks) == {"backbone", "flow", "codec_decoder", "codec_encoder"}
        for check in checks.values():
            assert max(check["relative_error"].values()) <= check["tolerance"]


@pytest.mark.parametrize("chunks", [[23], [1] * 23, [2, 1, 3, 17], [5, 18]])
def test_codec_gives_the_same_samples_in_any_chunks(
    engine: Engine, reference: ReferenceTTS, codes: np.ndarray, chunks: list[int]
) -> None:
    stream, start, parts = CodecStream(engine.codec_session), 0, []
    for count in chunks:
        parts.append(stream.decode(codes[start : start + count]))
        start += count
    expected = reference.decode(codes)
    np.testing.assert_allclose(
        np.concatenate(parts), expected, rtol=0, atol=2e-6 * np.abs(expected).max()
    )


def test_whole_decode_crosses_its_own_chunks(
    engine: Engine, reference: ReferenceTTS, codes: np.ndarray
) -> None:
    many = np.concatenate([codes] * 4)
    ours, expected = decode_whole(engine.codec_session, many), reference.decode(many)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_prefill_in_pieces_equals_one_pass(engine: Engine) -> None:
    x = np.random.default_rng(1).normal(size=(12, engine.config.backbone.dim)).astype(np.float32)
    session = engine._sessions["backbone"]
    whole = BackboneRunner(session, engine.config, 40)(x).numpy()
    stepwise = BackboneRunner(session, engine.config, 12)
    parts = [stepwise(x[:7]).numpy(), *(stepwise(x[i : i + 1]).numpy() for i in range(7, 12))]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [[1.0] * 4, [1.2, 1.0, 1.0, 2.0]])
def test_guidance_of_one_leaves_the_null_branch_out(
    engine: Engine, reference: ReferenceTTS, guidance: list[float]
) -> None:
    import torch

    rng, config = np.random.default_rng(4), engine.config
    hidden = rng.normal(size=(3, config.backbone.dim)).astype(np.float32)
    x = rng.normal(size=(3, config.codec.acoustic_dim)).astype(np.float32)
    schedule = Sampling("euler", 4, 1.0).schedule()
    schedule[:, 1] = guidance
    _, latents = engine.flow(hidden, x, schedule)
    expected = torch.from_numpy(x)
    for time, weight, *_, step, _ in schedule.tolist():
        velocity = reference.model.flow.guided_velocity(
            expected, time, torch.from_numpy(hidden), weight
        )
        expected = expected + step * velocity
    np.testing.assert_allclose(latents, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_flow_head_of_few_layers(tmp_path: Path, layers: int) -> None:
    """The first layer starts from prepared rows, the last reads one token: here they meet."""
    params = micro_params()
    params["multimodal"]["audio_model_args"]["acoustic_transformer_args"]["n_layers"] = layers
    write_random_checkpoint(params, tmp_path / "checkpoint", seed=2)
    bundle = export(tmp_path / "checkpoint", "fp32", tmp_path / "bundle")
    errors = Bundle.open(bundle).manifest["checks"]["flow"]["relative_error"]
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling("euler", 1, 1.5),
        Sampling("euler", 16, 1.5, "cosine", (0.25, 0.75)),
        Sampling("midpoint", 3, 1.5, "late"),
        Sampling("euler", 2, 1.5, "tail"),
        Sampling("heun", 3, 1.5, "sway", (0.5, 1.0)),
        Sampling("adams-bashforth", 4, 1.5, "sway", (0.1, 0.4)),
    ],
    ids=str,
)
def test_every_solver_grid_and_guidance_interval(
    engine: Engine, reference: ReferenceTTS, sampling: Sampling
) -> None:
    import torch

    rng, config = np.random.default_rng(2), engine.config
    hidden = rng.normal(size=(3, config.backbone.dim)).astype(np.float32)
    noise = rng.normal(size=(3, config.codec.acoustic_dim)).astype(np.float32)
    _, latents = engine.flow(hidden, noise, sampling.schedule())
    flow = reference.model.flow
    expected = flow.sample(torch.from_numpy(hidden), torch.from_numpy(noise), sampling)
    np.testing.assert_allclose(latents, expected.numpy(), rtol=0, atol=1e-5)


def test_encoder_gives_the_reference_codes(
    micro_bundles: dict[str, Path], reference: ReferenceTTS
) -> None:
    import onnxruntime as ort
    import torch

    config = reference.model.config.codec
    session = ort.InferenceSession(str(micro_bundles["fp32"] / "codec_encoder.onnx"))
    for patches in (7, 8, 40, 43):
        samples = np.random.default_rng(patches).normal(size=(1, patches * config.patch_size))
        samples = samples.astype(np.float32)
        (codes,) = session.run(["codes"], {"samples": samples})
        np.testing.assert_array_equal(
            codes, reference.model.codec.encode(torch.from_numpy(samples)).numpy()
        )
