"""What the language model trains on is what it will meet: prompt, history, targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.reference.training.made_up import FRAMES, TEXTS, make_work

from flowvox.config import END_VALUE, SPECIAL_CODES, ModelConfig
from flowvox.prompt import build_prompt
from flowvox.reference.training import alignment, lm, semantics
from flowvox.reference.training.alignment import spoken_tokens
from flowvox.reference.training.batches import AUDIO, LONGEST_OVERRUN, Sampler, Utterances
from flowvox.reference.training.fast import embed_values, velocity
from flowvox.reference.training.language_model import Expectation, LanguageModel
from flowvox.reference.training.lm import ADAPTING, FROM_NOTHING


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    speech = make_work(folder)
    semantics.fit(speech, 512, 32, "cpu").save(folder / "semantics.npz")
    alignment.build(folder, processes=1)
    codes = np.random.default_rng(1).integers(0, 21, (len(TEXTS) * FRAMES, 36))
    np.save(folder / "codes.npy", codes.astype(np.uint8))
    return folder


def test_a_word_in_pieces_is_shared_out_by_bytes() -> None:
    word = np.array([0, 0, 0, 0, 1, 1])
    spoken = spoken_tokens(word, np.array([0, 0, 1, 1]), np.array([1, 3, 1, 1]))
    assert spoken.tolist() == [0, 1, 1, 1, 2, 3]
    assert spoken_tokens(np.full(2, -1), np.array([0]), np.array([1])).tolist() == [-1, -1]


def test_semantic_codes_say_the_phonemes(work: Path) -> None:
    made = semantics.Semantics.load(work / "semantics.npz")
    assert made.vectors.shape == (512, 32)
    np.testing.assert_array_equal(made.of(made.labels).codes, made.codes)
    np.testing.assert_allclose(np.sqrt((made.vectors**2).mean()), semantics.SCALE, rtol=1e-4)
    same = {}
    for labels, code in zip(made.labels, made.codes, strict=True):
        assert same.setdefault(labels.tobytes(), code) == code


def test_hidden_states_equal_the_references(work: Path) -> None:
    config = ModelConfig.load(work / "params.json")
    data = Utterances(work, "cpu")
    sampler = Sampler(data, config, positions=600, voice=(10, 18), seed=0)
    batch = sampler.collate(sampler.training[:3], disturb=False)
    torch.manual_seed(2)
    model = LanguageModel(config, FROM_NOTHING)
    with torch.no_grad():
        hidden, _ = model.hidden(batch)
        voice = 14 + 1  # the END row
        for row, utterance in enumerate(sampler.training[:3]):
            n = FRAMES
            ids = batch.ids[row][batch.is_token[row] | batch.is_code[row]]
            prompt = ids[:-n]
            text = data.tokens[data.token_first[utterance] :][: data.token_count[utterance]]
            assert prompt.tolist() == build_prompt((text + 1000).tolist(), voice)
            values = batch.values[row * (voice + n) :][: voice + n]
            assert values[voice - 1].tolist() == [END_VALUE] + [0] * 36
            span = slice(utterance * n, utterance * n + n)
            spoken = torch.cat([data.semantic[span, None].long(), data.codes[span].long()], 1)
            torch.testing.assert_close(values[voice:], spoken + SPECIAL_CODES)
            x = model.backbone.embed_tokens(ids.clone())
            x[:-n][prompt == AUDIO] = model.backbone.embed_values(values[:voice])
            x[-n:] = model.backbone.embed_values(values[voice:])
            expected = model.backbone(x[None])[0, len(prompt) - 1 :]
            torch.testing.assert_close(
                hidden[row * (n + 1) :][: n + 1], expected, atol=2e-5, rtol=1e-5
            )
            targets = batch.semantic[row * (n + 1) :][: n + 1]
            assert targets.tolist() == [*(spoken[:, 0] + SPECIAL_CODES).tolist(), END_VALUE]


def test_after_every_frame_that_follows_the_end_another_end_is_due(work: Path) -> None:
    data = Utterances(work, "cpu")
    sampler = Sampler(data, ModelConfig.load(work / "params.json"), 600, voice=(10, 18), seed=0)
    torch.manual_seed(4)
    utterances = np.tile(sampler.training, 8)
    batch = sampler.collate(utterances, disturb=True)
    rows = batch.predicts.sum(1).tolist()
    assert {n - FRAMES - 1 for n in rows} == set(range(LONGEST_OVERRUN + 1))
    codes = batch.values.split(batch.is_code.sum(1).tolist())
    for utterance, targets, values in zip(
        utterances, batch.semantic.split(rows), codes, strict=True
    ):
        own = data.semantic[utterance * FRAMES :][:FRAMES].long() + SPECIAL_CODES
        assert targets.tolist() == [*own.tolist(), *[END_VALUE] * (len(targets) - FRAMES)]
        over = len(targets) - FRAMES - 1
        assert values[len(values) - over :, 0].tolist() == own[-1:].tolist() * over
    assert len(batch.latents) == len(batch.key) == int((~batch.is_end).sum())
    assert int(batch.is_history.sum()) == len(batch.latents)


def test_velocity_and_embeddings_equal_the_references(work: Path) -> None:
    torch.manual_seed(3)
    model = LanguageModel(ModelConfig.load(work / "params.json"), FROM_NOTHING)
    x, times, hidden = torch.randn(5, 36), torch.rand(5), torch.randn(5, 256)
    with torch.no_grad():
        expected = model.flow.velocity(x, times, hidden)
        torch.testing.assert_close(
            velocity(model.flow, x, times, hidden), expected, atol=1e-5, rtol=1e-4
        )
        values = torch.randint(0, 23, (4, 37))
        torch.testing.assert_close(
            embed_values(model.backbone, values), model.backbone.embed_values(values)
        )


def test_a_step_lowers_the_loss_and_own_history_changes_history_alone(work: Path) -> None:
    torch.manual_seed(4)
    config = ModelConfig.load(work / "params.json")
    sampler = Sampler(Utterances(work, "cpu"), config, positions=600, voice=(10, 18), seed=0)
    batch, model = sampler.batch(), LanguageModel(config, ADAPTING)
    own = model.own_history(batch)
    changed = (own.values != batch.values).any(1)
    assert changed.any()
    assert not (changed & ~batch.is_history).any()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        terms = model.losses(batch)
        loss = terms["semantic"] + terms["attention"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert losses[-1] < losses[0]


def test_expectation_begins_at_nothing_and_sees_code_and_hidden_state_together(work: Path) -> None:
    """Values whose sign the code decides: no sum of a map and a shift can tell them."""
    torch.manual_seed(6)
    expectation = Expectation(ModelConfig.load(work / "params.json"))
    expectation.begin_at_zero()
    hidden, code = torch.randn(400, 256), torch.randint(2, 4, (400,))
    told = hidden[:, :36] * (2 * code - 5)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(
            expectation(hidden, code), expectation.linear.bias.expand(400, 36)
        )
    optimizer = torch.optim.AdamW(expectation.parameters(), 5e-3)
    for _ in range(60):
        error = (expectation(hidden, code) - told).square().mean()
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert error < 0.2


def test_probes_are_taught_and_nothing_else(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm, "PROBE_BATCHES", 2)
    monkeypatch.setattr(lm, "PROBE_STEPS", 30)
    torch.manual_seed(3)
    config = ModelConfig.load(work / "params.json")
    model = LanguageModel(config, FROM_NOTHING)
    sampler = Sampler(Utterances(work, "cpu"), config, positions=600, voice=(10, 18), seed=0)
    held = sampler.held_out_batches(1, size=4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    phonemes = [model.losses(batch)["phoneme"].item() for batch in held]
    lm.teach_probes(model, sampler)
    changed = {name for name, t in model.state_dict().items() if not t.equal(before[name])}
    assert {name.partition(".")[0] for name in changed} == {"phoneme_probe", "expectation"}
    for batch, loss in zip(held, phonemes, strict=True):
        assert model.losses(batch)["phoneme"].item() < loss
