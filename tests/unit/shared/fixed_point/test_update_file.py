"""Updates as bytes: small, read block by block, and refused if they are anything else."""

from __future__ import annotations

import io
import resource
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import WeightsError
from shared.fixed_point.grid import BLOCK_VALUES, Grid, Integers
from shared.fixed_point.planes import unzigzag, zigzag
from shared.fixed_point.update_file import MAGIC, largest_file, read_update, write_update

GRID = Grid(
    bits=16,
    shapes={"bias": (3,), "kernel": (2, BLOCK_VALUES)},
    exponents={"bias": -10, "kernel": -12},
)


def small_numbers(grid: Grid, *, spread: float = 20.0, seed: int = 0) -> list[Integers]:
    random = np.random.default_rng(seed)
    return [
        random.normal(0, spread, block.size)
        .round()
        .clip(-grid.largest, grid.largest)
        .astype(np.int16 if grid.bits == 16 else np.int8)
        for block in grid.blocks()
    ]


def written(grid: Grid, blocks: list[Integers], *, compress: bool = True) -> bytes:
    file = io.BytesIO()
    write_update(file, grid, blocks, compress=compress)
    return file.getvalue()


def read(content: bytes, grid: Grid = GRID) -> list[Integers]:
    return list(read_update(io.BytesIO(content), grid))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compress", [True, False])
def test_what_was_written_is_read(bits: int, compress: bool) -> None:
    grid = replace(GRID, bits=bits)
    blocks = small_numbers(grid)

    content = written(grid, blocks, compress=compress)

    assert all(np.array_equal(a, b) for a, b in zip(read(content, grid), blocks, strict=True))
    assert all(block.dtype == (np.int16 if bits == 16 else np.int8) for block in read(content, grid))
    assert len(content) <= largest_file(grid)


def test_the_bytes_are_those_that_the_format_says() -> None:
    grid = Grid(bits=16, shapes={"a": (2,)}, exponents={"a": 0})

    content = written(grid, [np.array([1, -2], np.int16)], compress=False)

    header = b'{"bits":16,"grid":"%s","tensors":[["a",[2]]]}' % grid.digest.encode()
    # 1 and -2 as 2 and 3
    low, high = b"\x00\x02\x00\x00\x00\x02\x03", b"\x00\x02\x00\x00\x00\x00\x00"
    assert content == MAGIC + struct.pack("<I", len(header)) + header + low + high


def test_sixteen_bits_take_less_than_half_of_float32_and_eight_less_than_a_quarter() -> None:
    float32 = 4 * GRID.num_values
    # as wide as a grid makes updates whose largest change is five deviations: 32767 / 4 / 5
    sixteen = written(GRID, small_numbers(GRID, spread=1600.0))
    grid = replace(GRID, bits=8)
    eight = written(grid, small_numbers(grid, spread=12.0))

    assert len(sixteen) < 0.43 * float32
    assert len(eight) < 0.24 * float32


def test_bytes_that_do_not_compress_are_written_plainly() -> None:
    random = np.random.default_rng(1)
    noise = [random.integers(-32767, 32767, block.size).astype(np.int16) for block in GRID.blocks()]

    assert len(written(GRID, noise)) <= len(written(GRID, noise, compress=False)) == largest_file(GRID)


@given(values=st.lists(st.integers(-(2**15), 2**15 - 1)))
def test_zigzag_puts_the_sign_into_the_lowest_bit_and_back(values: list[int]) -> None:
    numbers = zigzag(np.array(values, np.int16))

    assert numbers.tolist() == [2 * value if value >= 0 else -2 * value - 1 for value in values]
    assert unzigzag(numbers).tolist() == values


def test_an_update_is_read_without_holding_it_whole() -> None:
    grid = Grid(bits=16, shapes={"kernel": (64 * BLOCK_VALUES,)}, exponents={"kernel": 0})
    file = io.BytesIO(written(grid, small_numbers(grid)))
    tracemalloc.start()
    for integers in read_update(file, grid):
        del integers
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 * 2 * BLOCK_VALUES  # of 64 blocks


# -- what a hostile site may send instead


def refused(content: bytes, grid: Grid = GRID) -> str:
    with pytest.raises(WeightsError) as caught:
        read(content, grid)
    return caught.value.message


def start_of(grid: Grid) -> bytes:
    """The header alone: an update of which nothing is written."""
    return written(grid, [])


def plane(codec: int, content: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<BI", codec, len(content) if length is None else length) + content


SMALL = Grid(bits=8, shapes={"a": (1000,)}, exponents={"a": 0})


@pytest.mark.parametrize("cut", [0, 5, len(MAGIC) + 2, 60, 200, -1])
def test_an_update_that_ends_too_early_is_refused(cut: int) -> None:
    content = written(GRID, small_numbers(GRID))

    assert "is not of the round" in refused(content[:cut])


def test_trailing_bytes_are_refused() -> None:
    assert "follow its end" in refused(written(GRID, small_numbers(GRID)) + b"\0")


@pytest.mark.parametrize(
    "other",
    [
        replace(GRID, bits=8),
        replace(GRID, exponents={"bias": -10, "kernel": -11}),
        replace(GRID, shapes={"bias": (3,), "kernel": (BLOCK_VALUES, 2)}),
        replace(GRID, shapes={"bias": (1,), "kernel": (2, BLOCK_VALUES)}),
    ],
)
def test_an_update_on_another_grid_or_of_other_shapes_is_refused(other: Grid) -> None:
    assert "another" in refused(written(other, small_numbers(other)))


def packed(content: bytes, **settings: object) -> bytes:
    return zstandard.ZstdCompressor(level=19, **settings).compress(content)


def unsized(content: bytes) -> bytes:
    """A frame that does not say how long its content is."""
    return packed(content, write_content_size=False)


def frame_that_claims(size: int, *, window_log: int | None = None) -> bytes:
    """The head of a frame (RFC 8878, 3.1.1.1) that claims a size, and a window if one is named."""
    magic = struct.pack("<I", 0xFD2FB528)
    if window_log is None:
        return magic + bytes([0b1110_0000]) + struct.pack("<Q", size)
    return magic + bytes([0b1100_0000, (window_log - 10) << 3]) + struct.pack("<Q", size)


@pytest.mark.parametrize(
    "bomb",
    [
        packed(bytes(500_000_000 // 16)),
        unsized(bytes(500_000_000 // 16)),
        frame_that_claims(2**62),
        frame_that_claims(1000, window_log=31),
        frame_that_claims(1000, window_log=27) + packed(bytes(1000))[4:],
    ],
    ids=["that says how large it is", "that does not", "of exabytes", "with a large window", "with both"],
)
def test_a_decompression_bomb_makes_no_more_bytes_than_the_block_has(bomb: bytes) -> None:
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    message = refused(start_of(SMALL) + plane(1, bomb[:990]), SMALL)
    whole = refused(start_of(SMALL) + plane(1, bomb), SMALL)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "a block" in message
    assert "a block" in whole
    assert peak < 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - limit < 16_000  # kilobytes


@pytest.mark.parametrize(
    "content",
    [
        plane(0, bytes(999)),
        plane(0, bytes(1001)),
        plane(0, bytes(1000), length=2**32 - 1),
        plane(2, bytes(1000)),
        plane(1, packed(bytes(999))),
        plane(1, packed(bytes(1001))),
        plane(1, packed(b"")),
        plane(1, unsized(bytes(1000))),
        plane(1, packed(bytes(1000)) + b"rubbish"),
        plane(1, packed(bytes(1000)) + packed(bytes(1000))),
        plane(1, struct.pack("<II", 0x184D2A50, 4) + b"skip" + packed(bytes(1000))),
        plane(1, packed(bytes(1000))[:-1]),
        plane(1, b"no compressed bytes"),
        plane(1, bytes(1000)),
        plane(1, b""),
        plane(0, b"\xff" * 1000),  # -128, which no rounding gives
    ],
)
def test_a_block_of_another_length_codec_or_range_is_refused(content: bytes) -> None:
    assert "is not of the round" in refused(start_of(SMALL) + content, SMALL)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_gives_integers_of_the_grid(data: st.DataObject) -> None:
    content = bytearray(written(SMALL, small_numbers(SMALL)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        (integers,) = read(bytes(content), SMALL)
    except WeightsError:
        return
    assert (integers.dtype, integers.shape) == (np.int8, (1000,))
    assert np.abs(integers.astype(int)).max() <= SMALL.largest


def test_ten_megabytes_of_rubbish_are_refused_at_once() -> None:
    assert "another network" in refused(b"\xff" * 10_000_000)
