"""A disk that fills up is told of once, and its end as well."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.disk_watch import ENOUGH_FREE_BYTES, LEAST_FREE_BYTES, DiskWatch


def test_a_disk_is_low_once_and_well_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = DiskWatch(tmp_path)
    left = [ENOUGH_FREE_BYTES, LEAST_FREE_BYTES - 1, 0, LEAST_FREE_BYTES, ENOUGH_FREE_BYTES, LEAST_FREE_BYTES]
    said: list[str] = []

    with caplog.at_level(logging.INFO):
        for free in left:
            monkeypatch.setattr(shutil, "disk_usage", lambda _folder, free=free: SimpleNamespace(free=free))
            said.append(watch.look())

    assert [bool(text) for text in said] == [False, True, True, True, False, False]
    assert (
        said[2] == "The disk of the home folder has 0 MiB left. Free space on it; until then work may wait."
    )
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "has 1023 MiB left" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_a_disk_that_is_gone_does_not_end_who_looks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    DiskWatch(tmp_path / "unmounted").look()

    assert "cannot be looked at: No such file or directory" in caplog.text
