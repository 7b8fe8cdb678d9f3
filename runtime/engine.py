"""The generate loop: prompt embeddings in, frames of codes out. Reads like format B.4 - B.7."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from flowvox.bundle import Bundle
from flowvox.config import END_VALUE, SPECIAL_CODES
from flowvox.graphs import BACKBONE, CODEC_DECODER, FLOW
from flowvox.prompt import build_prompt, prompt_embeddings
from flowvox.runtime.backbone import BackboneRunner, BackboneRunners
from flowvox.runtime.binding import Rows
from flowvox.runtime.cuda import check_capture, cuda_advice, warn_once
from flowvox.runtime.flow_head import FlowRunner
from flowvox.runtime.providers import CUDA, Device, settled
from flowvox.runtime.sampling import acoustic_values, semantic_value
from flowvox.runtime.sessions import open_session
from flowvox.runtime.speech import StageTimes


@dataclass
class Run:
    """One generation in progress. ended: the model emitted END by itself."""

    ended: bool = False
    times: StageTimes = field(default_factory=StageTimes)


class Engine:
    """The sessions and tables of a bundle."""

    def __init__(self, bundle: Bundle, device: Device, threads: int) -> None:
        device = settled(device, bundle.manifest["recipe"])
        if device == "cuda-graph":
            check_capture(bundle.manifest["recipe"])
        specs = bundle.graphs
        self.bundle, self.config = bundle, bundle.config
        self._sessions: dict[str, ort.InferenceSession] = {
            name: open_session(bundle, specs[name], device, threads)
            for name in (BACKBONE, FLOW, CODEC_DECODER)
        }
        if CUDA in self._sessions[BACKBONE].get_providers():
            for line in cuda_advice(bundle.manifest["recipe"], ort.__version__):
                warn_once(line)
        self._backbones = BackboneRunners(self._sessions[BACKBONE], self.config)
        self._tokens = bundle.table("token_embeddings")
        self._codes = bundle.table("code_embeddings")
        self._offsets = np.array(bundle.config.code_offsets)

    @property
    def codec_session(self) -> ort.InferenceSession:
        return self._sessions[CODEC_DECODER]

    def embed_prompt(
        self, text_ids: list[int], voice_rows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The prompt of format B.2 as embeddings [P, dim]."""
        prompt = build_prompt(text_ids, len(voice_rows))
        return prompt_embeddings(prompt, self._tokens.rows(prompt), voice_rows)

    def embed_frame(self, values: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values [..., 37] with the +2 -> the sum of their table rows [..., dim] (B.7)."""
        summed: NDArray[np.float32] = self._codes.rows(values + self._offsets).sum(axis=-2)
        return summed

    def flow(
        self, hidden: NDArray[np.float32], noise: NDArray[np.float32], schedule: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """hidden [B, dim], noise [B, 36] -> semantic logits [B, rows], latents [B, 36]."""
        flow = FlowRunner(self._sessions[FLOW])
        return flow(Rows.of(flow.memory.put(np.ascontiguousarray(hidden))), noise, schedule)

    def frames(
        self,
        prompt: NDArray[np.float32],
        noise: NDArray[np.float32],
        schedule: NDArray[np.float32],
        run: Run,
    ) -> Iterator[NDArray[np.int32]]:
        """Codes [37] of each frame, without the +2, until END or until the noise [T, 36] is used up.

        Frame 0 is decoded from the hidden state of the last prompt position.
        """
        levels = self.config.codec.acoustic_codebook_size
        clock = time.perf_counter
        started = clock()
        positions = len(prompt) + len(noise)
        flow = FlowRunner(self._sessions[FLOW])
        with self._backbones.runner(positions) as backbone:
            hidden = backbone(prompt).last()
            run.times.prompt += clock() - started
            for row in noise:
                run.times.backbone += (middle := clock()) - started
                logits, latents = flow(hidden, row[None], schedule)
                run.times.flow += clock() - middle
                value = semantic_value(logits[0], self.config.semantic_rows)
                if value == END_VALUE:
                    run.ended = True
                    return
                values = np.concatenate([[value], acoustic_values(latents[0], levels)])
                run.times.frames += 1
                yield (values - SPECIAL_CODES).astype(np.int32)
                started = clock()
                hidden = backbone(self.embed_frame(values)[None])

    def teacher_forced(
        self,
        prompt: NDArray[np.float32],
        codes: NDArray[np.int32],
        noise: NDArray[np.float32],
        schedule: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the model says before each given frame and after the last: codes [F, 37].

        noise: [F + 1, 36]. Returns raw semantic logits [F + 1, rows] and latents [F + 1, 36].
        """
        return self.flow(self.hidden_states(prompt, codes), noise, schedule)

    def hidden_states(
        self, prompt: NDArray[np.float32], codes: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Hidden states [F + 1, dim] before each given frame and after the last: codes [F, 37]."""
        values = codes.astype(np.int64) + SPECIAL_CODES
        sequence = np.concatenate([prompt, self.embed_frame(values)])
        backbone = BackboneRunner(self._sessions[BACKBONE], self.config, len(sequence))
        return backbone(sequence).numpy()[len(prompt) - 1 :]
