"""Tensor files: the same bytes as written at once, and read one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from shared.model import build_model
from shared.model.tensor_file import TensorFile, write_model
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan

WEIGHTS = {
    "b.kernel": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([0.5]),
    "c.empty": torch.zeros(0, 4),
    "b.scalar": torch.tensor(-1.25),
}


SHAPES = {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()}


def test_a_file_written_piece_by_piece_has_the_bytes_of_one_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "tensors").open("wb") as file:
        tensors = TensorFile.create(file, SHAPES)
        for name, tensor in WEIGHTS.items():  # in no particular order
            values = tensor.reshape(-1).numpy().astype(np.float64)
            middle = values.size // 2
            tensors.write(name, middle, values[middle:])
            tensors.write(name, 0, values[:middle])

    assert (tmp_path / "tensors").read_bytes() == to_bytes(WEIGHTS)


def test_any_piece_of_a_tensor_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "tensors").write_bytes(to_bytes(WEIGHTS))

    with (tmp_path / "tensors").open("rb") as file:
        tensors = TensorFile.open(file)
        assert tensors.shapes == SHAPES
        assert tensors.read("b.kernel", 2, 5).tolist() == [2.0, 3.0, 4.0]
        assert tensors.read("b.scalar", 0, 1).tolist() == [-1.25]
        assert tensors.read("c.empty", 0, 0).tolist() == []


def test_a_model_written_tensor_by_tensor_has_the_bytes_of_one_written_at_once(
    tmp_path: Path,
) -> None:
    model = build_model(ModelPlan(size="tiny"))

    write_model(tmp_path / "weights", model)

    assert (tmp_path / "weights").read_bytes() == to_bytes(weights_of(model))
