"""The dataset stage: what was said, in codes, and which text token is heard when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.reference.training.shards import TINY, write_shard

from flowvox.reference.training.dataset import Dataset, build, spoken_tokens, text_encoder
from flowvox.reference.training.script import script_utterances
from flowvox.reference.training.synth import FRAME

SENTENCE = "The old man and the old woman went into the house."


def test_examples_follow_the_fortunes_and_are_never_rehearsed(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    fortunes = [SENTENCE.replace("house", place) for place in ("house", "town", "water")]
    write_shard(tmp_path / "corpus" / "0000.npz", fortunes, 20)
    write_shard(
        tmp_path / "corpus" / "examples-0000.npz", [SENTENCE.replace("house", "garden")], 30
    )
    build(tmp_path, TINY)
    data = Dataset.load(tmp_path)
    assert data.starts.tolist() == [0, 20, 40, 60, 90]
    assert data.example.tolist() == [False, False, False, True]
    assert data.codes.shape == (90, 36)
    assert len(data.audio) == 90 * FRAME
    assert not {3} & set(script_utterances(data, voice=0))
    shards = np.load(tmp_path / "corpus" / "examples-0000.npz")
    np.testing.assert_array_equal(data.audio[60 * FRAME :], shards["audio"])
    np.testing.assert_array_equal(data.phoneme[60:], shards["phoneme"])
    token = np.asarray(data.token[60:])
    assert token[0] == 0
    assert np.all(np.diff(token) >= 0)  # the text is spoken from left to right


def test_a_word_in_pieces_is_shared_out_by_bytes() -> None:
    encoder = text_encoder([bytes([b]) for b in range(256)])
    ids = encoder.encode("ab c")
    word = np.array([0, 0, 0, 0, 1, 1], dtype=np.uint8)
    assert spoken_tokens("ab c", ids, encoder, word, 2).tolist() == [0, 0, 1, 1, 2, 3]
    assert spoken_tokens("ab c", ids, encoder, word, 3).tolist() == [-1] * 6  # they disagree
