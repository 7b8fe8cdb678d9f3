"""Tekken against mistral-common, the authors' own tokenizer, and against bad input."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import mistral_common
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from flowvox.errors import FlowvoxError, TokenizerError
from flowvox.prompt import build_prompt
from flowvox.tokenizer import Tokenizer

PUBLISHED = next(Path(mistral_common.__file__).parent.rglob("tekken_240911.json"))
SCRIPTS = {
    "latin": (0x61, 0x7A), "latin extended": (0xC0, 0x24F), "greek": (0x391, 0x3C9),
    "cyrillic": (0x410, 0x44F), "armenian": (0x531, 0x586), "hebrew": (0x5D0, 0x5EA),
    "arabic": (0x621, 0x64A), "devanagari": (0x905, 0x94D), "tamil": (0xB85, 0xBCD),
    "thai": (0xE01, 0xE4E), "georgian": (0x10D0, 0x10FA), "hangul": (0xAC00, 0xD7A3),
    "kana": (0x3041, 0x30FE), "han": (0x4E00, 0x9FA5), "emoji": (0x1F300, 0x1F64F),
    "combining": (0x300, 0x36F), "punctuation": (0x21, 0x2F), "symbols": (0x2190, 0x22FF),
    "control": (0x00, 0x1F), "digits": (0x30, 0x39),
}  # fmt: skip


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer.load(PUBLISHED)


@pytest.fixture(scope="module")
def theirs() -> Tekkenizer:
    return Tekkenizer.from_file(PUBLISHED)


def many_strings(count: int) -> list[str]:
    """Words of one script, of mixed scripts, with every kind of space between them."""
    rng = random.Random(0)
    spaces = [" ", "  ", "\n", "\r\n", "\t", "", " \n ", "\u00a0", "/", ". ", ", "]
    strings = []
    for index in range(count):
        scripts = (
            list(SCRIPTS) if index % 5 == 0 else [list(SCRIPTS)[index % len(SCRIPTS)], "latin"]
        )
        parts = []
        for _ in range(rng.randint(1, 8)):
            low, high = SCRIPTS[rng.choice(scripts)]
            word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9)))
            parts += [word.title() if rng.random() < 0.2 else word, rng.choice(spaces)]
        strings.append("".join(parts))
    return strings


def test_equal_to_mistral_common_on_6000_strings(ours: Tokenizer, theirs: Tekkenizer) -> None:
    for text in many_strings(6000):
        assert ours.encode(text) == theirs.encode(text, bos=False, eos=False), repr(text)


def test_equal_on_generated_text(ours: Tokenizer, theirs: Tekkenizer) -> None:
    @given(st.text(max_size=80))
    @settings(max_examples=400)
    def check(text: str) -> None:
        assert ours.encode(text) == theirs.encode(text, bos=False, eos=False)

    check()


def test_the_published_example(ours: Tokenizer) -> None:
    assert ours.encode("Paris is a beautiful city!") == [42572, 1395, 1261, 15568, 5970, 1033]


def test_the_prompt_is_that_of_mistral_common(tmp_path: Path, ours: Tokenizer) -> None:
    """encode_speech_request with a preset voice, for several texts and voice lengths."""
    from mistral_common.protocol.speech.request import SpeechRequest
    from mistral_common.tokens.tokenizers.base import SpecialTokens
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    document = json.loads(PUBLISHED.read_text("utf-8"))
    document["config"]["version"] = "v7"
    names = {0: "<unk>", 1: "<s>", 2: "</s>", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]",
             26: "[OUTPUT_AUDIO]", 35: "[REPEAT_AUDIO_TEXT]", 36: "[NEXT_AUDIO_TEXT]"}  # fmt: skip
    others = sorted({token.value for token in SpecialTokens} - set(names.values()))
    names |= dict(zip(range(100, 1000), others, strict=False))  # it insists on all it knows
    document["special_tokens"] = [
        {"rank": i, "token_str": names.get(i, f"<SPECIAL_{i}>"), "is_control": True}
        for i in range(1000)
    ]
    document["audio"] = {
        "sampling_rate": 24000, "frame_rate": 12.5, "chunk_length_s": 30.0,
        "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
        "voice_num_audio_tokens": {"short": 3, "long": 218},
    }  # fmt: skip
    file = tmp_path / "tekken.json"
    file.write_text(json.dumps(document))
    reference = MistralTokenizer.from_file(str(file))
    for text in ("Hello there.", "[AUDIO] typed by a user", "日本語 and العربية"):
        for voice, frames in (("short", 3), ("long", 218)):
            request = SpeechRequest(input=text, voice=voice)
            expected = reference.encode_speech_request(request).tokens
            assert build_prompt(ours.encode(text), frames) == expected


@pytest.mark.parametrize("text", ["", " ", "\x00\x1f", "[AUDIO]", "👩‍👩‍👧‍👦", "a\ud800b", "é" * 50])
def test_odd_texts_round_trip(ours: Tokenizer, text: str) -> None:
    expected = text.encode("utf-8", "replace").decode()
    assert ours.decode(ours.encode(text)) == expected
    assert all(i >= ours.n_specials for i in ours.encode(text))  # nothing typed is a control token


@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000, "\n" * 100_000, "ab " * 40_000])
def test_enormous_texts_take_no_time(ours: Tokenizer, text: str) -> None:
    assert ours.decode(ours.encode(text)) == text


def small_document() -> dict[str, object]:
    vocabulary = [
        {"rank": i, "token_bytes": base64.b64encode(bytes([i])).decode(), "token_str": None}
        for i in range(256)
    ]
    return {
        "config": {
            "pattern": r"\s+|\S+",
            "default_vocab_size": 266,
            "default_num_special_tokens": 10,
        },
        "vocab": vocabulary,
        "special_tokens": [{"rank": 1, "token_str": "<s>", "is_control": True}],
    }


def test_a_minimal_file_works(tmp_path: Path) -> None:
    (tmp_path / "tekken.json").write_text(json.dumps(small_document()))
    tokenizer = Tokenizer.load(tmp_path / "tekken.json")
    assert tokenizer.encode("hé") == [10 + b for b in "hé".encode()]
    assert tokenizer.special_id("<s>") == 1
    with pytest.raises(TokenizerError, match="AUDIO"):
        tokenizer.special_id("[AUDIO]")


@pytest.mark.parametrize(
    ("path", "value"),
    [(("config",), None), (("config", "pattern"), "("), (("config", "default_vocab_size"), 10**12),
     (("config", "default_num_special_tokens"), -1), (("vocab",), []), (("vocab", 5), {"rank": 6}),
     (("vocab", 5, "token_bytes"), "!"), (("vocab", 5, "token_bytes"), "AA=="),
     (("special_tokens",), 3), (("special_tokens", 0, "rank"), 99)],
)  # fmt: skip
def test_damaged_files_are_one_line_errors(
    tmp_path: Path, path: tuple[object, ...], value: object
) -> None:
    document = small_document()
    target = document
    for key in path[:-1]:
        target = target[key]  # type: ignore[index]
    target[path[-1]] = value  # type: ignore[index]
    (tmp_path / "tekken.json").write_text(json.dumps(document))
    with pytest.raises(FlowvoxError) as caught:
        Tokenizer.load(tmp_path / "tekken.json")
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="not found"):
        Tokenizer.load(tmp_path / "tekken.json")
    (tmp_path / "tekken.json").write_text("{")
    with pytest.raises(TokenizerError, match="JSON"):
        Tokenizer.load(tmp_path / "tekken.json")
