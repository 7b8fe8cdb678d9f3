"""adapter_model.safetensors of a PEFT LoRA: which matrices of a model it changes, and how.

Keys: base_model.model.<module path>.lora_A.weight [r, in] and .lora_B.weight [out, r]; older files have
the adapter's name between "lora_A" and "weight".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowvox.config import ModelConfig
from flowvox.errors import AdapterError
from flowvox.reference.checkpoint import card_licence
from flowvox.reference.lora.config import CONFIG, LoraConfig
from flowvox.reference.lora.names import Place, from_half_split, locate
from flowvox.reference.safetensors_file import SafetensorsFile
from flowvox.tensors import Shape

WEIGHTS = "adapter_model.safetensors"
KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.[^.]+)?\.weight")


@dataclass(frozen=True)
class Factors:
    """Keys of A [r, in] and B [out, r] of one matrix; its change is scale * B A."""

    place: Place
    a: str
    b: str
    scale: float


class Adapter:
    """matrices: by the name of the tensor that they change."""

    def __init__(self, path: Path, config: ModelConfig, shapes: dict[str, Shape]) -> None:
        """Open a file with its adapter_config.json beside it, or the folder of both.

        Every name, shape and value is checked against the model. Raises AdapterError, or
        CheckpointError for a file that is no safetensors file of floats.
        """
        self.path = _weights(path)
        lora = LoraConfig.load(self.path.with_name(CONFIG))
        self._file = SafetensorsFile(self.path)
        self.matrices = self._match(lora, config, shapes)
        for key in self._file.tensors:
            if not np.isfinite(self._file.read(key)).all():
                raise AdapterError(
                    f"{self.path}: {key} holds values that are not finite; take an adapter of an "
                    "earlier training step"
                )

    @property
    def licence(self) -> str:
        """Of the model card beside the weights, "unknown" without one."""
        return card_licence(self.path.with_name("README.md"))

    def sha256(self) -> str:
        """Of the file with the weights."""
        digest = hashlib.sha256()
        for piece in self._file.chunks():
            digest.update(piece)
        return digest.hexdigest()

    def change(self, tensor: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows start ... stop - 1 of scale * B A, [stop - start, in]."""
        factors = self.matrices[tensor]
        b = self._file.read(factors.b)
        if factors.place.heads:
            b = from_half_split(b, factors.place.heads)
        change: NDArray[np.float32] = b[start:stop] @ self._file.read(factors.a)
        change *= np.float32(factors.scale)
        return change

    def _match(
        self, lora: LoraConfig, config: ModelConfig, shapes: dict[str, Shape]
    ) -> dict[str, Factors]:
        """Both factors of every matrix, shapes checked."""
        places: dict[str, Place] = {}
        modules: dict[str, str] = {}
        keys: dict[tuple[str, str], str] = {}
        for key in self._file.tensors:
            match = KEY.fullmatch(key)
            if match is None:
                raise AdapterError(
                    f"{self.path}: {key} is not base_model.model.<module>.lora_A.weight or .lora_B."
                    "weight; flowvox merges plain LoRA matrices of PEFT"
                )
            module, factor = match.groups()
            place = locate(module, shapes, config.backbone)
            if place is None:
                raise AdapterError(
                    f"{self.path}: {key} is for no matrix of this model; is it another model's adapter?"
                )
            twin = keys.setdefault((place.tensor, factor), key)
            if twin != key:
                raise AdapterError(
                    f"{self.path}: {twin} and {key} are both for {place.tensor}; keep one adapter"
                )
            if places.setdefault(place.tensor, place) != place:
                raise AdapterError(f"{self.path}: {key} and its partner follow different namings")
            modules[place.tensor] = module
            rows, columns = shapes[place.tensor]
            rank = lora.rank_of(module)
            self._check_shape(key, (rank, columns) if factor == "A" else (rows, rank), place)
        if not keys:
            raise AdapterError(f"{self.path}: holds no adapter weights")
        self._check_partners(keys)
        return {
            tensor: Factors(place, keys[tensor, "A"], keys[tensor, "B"], lora.scale_of(module))
            for tensor, place in places.items()
            for module in (modules[tensor],)
        }

    def _check_shape(self, key: str, expected: Shape, place: Place) -> None:
        shape = self._file.tensors[key].shape
        if shape != expected:
            raise AdapterError(
                f"{self.path}: {key} has shape {list(shape)}, but {place.tensor} and the rank in "
                f"{CONFIG} ask for {list(expected)}; is it another model's adapter?"
            )

    def _check_partners(self, keys: Mapping[tuple[str, str], str]) -> None:
        for (tensor, factor), key in keys.items():
            other = "B" if factor == "A" else "A"
            if (tensor, other) not in keys:
                raise AdapterError(
                    f"{self.path}: {key} has no lora_{other} to go with it; the file is incomplete"
                )


def _weights(path: Path) -> Path:
    """The file with the weights. Raises AdapterError."""
    file = path / WEIGHTS if path.is_dir() else path
    if file.is_file() and file.suffix == ".safetensors":
        return file
    if file.is_file() or file.with_suffix(".bin").is_file():
        raise AdapterError(
            f"{path}: is not a .safetensors file; let PEFT save it with safe_serialization=True"
        )
    raise AdapterError(f"{file}: no such file; name the adapter's folder, or its {WEIGHTS}")
