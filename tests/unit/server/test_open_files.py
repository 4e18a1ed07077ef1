"""A robust mean of more updates than the process was allowed to open."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.combining import changes_by_robust_mean
from server.open_files import OTHERS, allow_open_files
from server.strategies.median import Median
from shared.errors import AggregationError
from shared.fixed_point.grid import Grid, Integers
from shared.fixed_point.update_file import read_update, write_update
from shared.plan import AggregationPlan

GRID = Grid(bits=16, shapes={"kernel": (3,)}, exponents={"kernel": 0})


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_updates_are_read_beside_each_other_than_the_soft_limit_lets(
    few_files: None, tmp_path: Path
) -> None:
    with (tmp_path / "update").open("wb") as file:
        write_update(file, GRID, [np.array([1, -2, 3], np.int16)], compress=True)

    def read() -> Iterator[Integers]:
        with (tmp_path / "update").open("rb") as file:
            yield from read_update(file, GRID)

    (change,) = changes_by_robust_mean(
        Median(AggregationPlan(strategy="median")), [read] * 300, GRID, share=1
    )

    assert change.weights.tolist() == [1, -2, 3]


def test_beyond_the_hard_limit_it_is_said_what_to_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 4096))

    with pytest.raises(AggregationError, match="5,000 updates cannot be read") as failed:
        allow_open_files(5000)

    assert f"{5000 + OTHERS:,} files" in failed.value.hint
