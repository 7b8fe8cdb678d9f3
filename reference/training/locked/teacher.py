"""The teacher: hibari-tts as a source of speech *parameters* rather than of waveforms.

hibari (PyPI `hibari-tts`, Apache-2.0, a distillation of Kokoro-82M's voice af_heart) predicts, 80 times
a second, the spectral envelope of a harmonic and of a noise source, F0 and phoneme durations. Knowing
them, the corpus can be made phase-locked (see synth.py), and every frame knows its phoneme.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TEACHER_RATE = 80  # parameter frames per second
FRAMES_PER_COUNT = 2  # hibari counts durations in steps of 25 ms
LABEL_LAG = 4  # frames by which its durations come after its sound: best fit to voicing and hiss
VOICED_ABOVE = 40.0  # Hz; below this hibari's F0 means "unvoiced"
LOG_FLOOR = -9.0  # natural log of the smallest amplitude kept

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """One sentence. F frames at 80 Hz, B = 601 linear frequency bins up to 12 kHz.

    harmonic, noise: [F, B] log amplitude; phase: [F, B] radians of the pulse spectrum; f0: [F] Hz,
    0 where unvoiced; phonemes: [F] phoneme index; word_index: [F] number of words completed before.
    """

    harmonic: Array
    noise: Array
    phase: Array
    f0: Array
    phonemes: NDArray[np.int64]
    word_index: NDArray[np.int64]


class Teacher:
    """hibari's network with its durations exposed as an additional output."""

    def __init__(self, threads: int = 1) -> None:
        import onnx
        import onnxruntime as ort
        from hibari import Hibari

        self.hibari = Hibari(threads=threads)
        graph = onnx.load(self.hibari.model_path)
        clip = next(node for node in graph.graph.node if node.op_type == "Clip")
        graph.graph.output.append(onnx.ValueInfoProto(name=clip.output[0]))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = ort.InferenceSession(graph.SerializeToString(), options)
        self.space = self.hibari.vocab[" "]

    def phonemes(self, text: str) -> str:
        """The sentence in hibari's phoneme alphabet; empty where it found none."""
        return " ".join(self.hibari.phonemize(text))

    def speak(self, phonemes: str) -> Parameters:
        """Phonemes (one sentence, at most 400 symbols) -> parameters."""
        ids = self.hibari.ids(phonemes)
        feeds = {"ids": np.asarray([ids]), "speed": np.ones(1, np.float32)}
        harmonic, phase, noise, free, _, f0, durations = self.session.run(None, feeds)
        counts = np.asarray(durations).reshape(-1).astype(np.int64) * FRAMES_PER_COUNT
        if counts.sum() != len(f0[0]):
            raise ValueError(f"durations of {counts.sum()} frames for {len(f0[0])} frames of sound")
        words = np.cumsum([symbol == self.space for symbol in ids])
        f0 = np.where(f0[0] > VOICED_ABOVE, f0[0], 0).astype(np.float32)
        # The free-phase branch carries transients; its energy joins the noise (phases are not kept).
        total_noise = np.logaddexp(2 * noise[0], 2 * free[0]).T / 2
        return Parameters(
            harmonic=np.clip(harmonic[0].T, LOG_FLOOR, 7.0),
            noise=np.clip(total_noise, LOG_FLOOR, 7.0).astype(np.float32),
            phase=(np.pi * np.tanh(phase[0])).T.astype(np.float32),
            f0=f0,
            phonemes=_earlier(np.repeat(np.asarray(ids), counts)),
            word_index=_earlier(np.repeat(words, counts)),
        )


def _earlier(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.pad(labels[LABEL_LAG:], (0, LABEL_LAG), mode="edge")


def warped(parameters: Parameters, pitch: float, formants: float) -> Parameters:
    """Another voice from the same sentence: F0 times `pitch`, the frequency axis of both
    spectra times `formants`; the phase stays.
    """
    bins = parameters.harmonic.shape[1]
    source = np.clip(np.arange(bins) / formants, 0, bins - 1)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, bins - 1)
    weight = (source - low).astype(np.float32)

    def warp(x: Array) -> Array:
        return (x[:, low] * (1 - weight) + x[:, high] * weight).astype(np.float32)

    return Parameters(
        harmonic=warp(parameters.harmonic),
        noise=warp(parameters.noise),
        phase=parameters.phase,
        f0=parameters.f0 * np.float32(pitch),
        phonemes=parameters.phonemes,
        word_index=parameters.word_index,
    )
