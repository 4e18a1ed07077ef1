"""Float32 tensors in a safetensors file, written and read piece by piece.

The bytes are those that `shared.model.weights.to_bytes` gives, so that a digest does not tell how a file was
written; only the memory differs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import nn

Shape = tuple[int, ...]

ALIGNMENT_BYTES = 8

_LENGTH = struct.Struct("<Q")


class TensorFile:
    """Named tensors in an open file, each at its place."""

    def __init__(self, file: BinaryIO, shapes: Mapping[str, Shape], start: int) -> None:
        self._file = file
        self.shapes = shapes
        self._places = {}
        for name in sorted(shapes):
            self._places[name] = start
            start += 4 * prod(shapes[name])

    @classmethod
    def create(cls, file: BinaryIO, shapes: Mapping[str, Shape]) -> TensorFile:
        """Begin a file; it is a whole one when every tensor was written, in any order."""
        header, offset = {}, 0
        for name in sorted(shapes):
            end = offset + 4 * prod(shapes[name])
            header[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT_BYTES)
        file.write(_LENGTH.pack(len(text)) + text)
        return cls(file, shapes, _LENGTH.size + len(text))

    @classmethod
    def open(cls, file: BinaryIO) -> TensorFile:
        """Open a file of our own, whose digest was verified."""
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        header = json.loads(file.read(length))
        return cls(file, {name: tuple(header[name]["shape"]) for name in header}, _LENGTH.size + length)

    def write(self, name: str, start: int, values: NDArray[np.floating]) -> None:
        """Values of a tensor, flat, from the one at `start`."""
        assert start + values.size <= prod(self.shapes[name])
        self._file.seek(self._places[name] + 4 * start)
        self._file.write(values.astype("<f4").tobytes())

    def read(self, name: str, start: int, stop: int) -> NDArray[np.float64]:
        """Values of a tensor, flat, from the one at `start` to that before `stop`."""
        self._file.seek(self._places[name] + 4 * start)
        return np.frombuffer(self._file.read(4 * (stop - start)), "<f4").astype(np.float64)


def write_model(path: Path, model: nn.Module) -> None:
    """Write a model's weights, tensor by tensor: beside the model itself, no more memory than its largest."""
    tensors = model.state_dict()
    with path.open("wb") as file:
        written = TensorFile.create(file, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        for name, tensor in tensors.items():
            written.write(name, 0, tensor.numpy().reshape(-1))
