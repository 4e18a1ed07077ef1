"""Masked updates as bytes: whole, of one length, and read back within bounds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import WeightsError
from shared.fixed_point.grid import BLOCK_VALUES, Grid
from shared.fixed_point.masked_file import masked_size, read_masked, write_masked
from shared.fixed_point.update_file import largest_file

SHAPES = {"bias": (5,), "kernel": (BLOCK_VALUES + 3,)}
GRID = Grid(bits=16, shapes=SHAPES, exponents={"bias": -3, "kernel": -7})


def written(ring: int, seed: int = 0) -> tuple[bytes, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    blocks = [random.integers(0, 2**32, block.size, dtype=np.uint32) for block in GRID.blocks()]
    file = io.BytesIO()
    write_masked(file, GRID, blocks, ring=ring)
    return file.getvalue(), [block & np.uint32(2**ring - 1) for block in blocks]


@settings(max_examples=15, deadline=None)
@given(ring=st.integers(9, 31), seed=st.integers(0, 99))
def test_residues_come_back_and_take_the_bytes_that_were_said(ring: int, seed: int) -> None:
    content, residues = written(ring, seed)

    read = list(read_masked(io.BytesIO(content), GRID, ring=ring))

    assert all(np.array_equal(one.view(np.uint32), two) for one, two in zip(read, residues, strict=True))
    assert len(content) == masked_size(GRID, ring=ring)


def test_three_sites_take_an_eighth_more_than_plain_16_bits() -> None:
    assert masked_size(GRID, ring=18) / largest_file(GRID) == pytest.approx(18 / 16, rel=0.002)


@pytest.mark.parametrize("harm", ["cut", "longer", "other ring", "plain magic", "empty"])
def test_bytes_that_are_no_masked_update_of_this_round_are_refused(harm: str) -> None:
    content, _ = written(18)
    other = {
        "cut": content[:-1],
        "longer": content + b"\0",
        "other ring": written(19)[0],
        "plain magic": b"mammofed update 2\n" + content[25:],
        "empty": b"",
    }[harm]

    with pytest.raises(WeightsError, match="not of the round"):
        list(read_masked(io.BytesIO(other), GRID, ring=18))
