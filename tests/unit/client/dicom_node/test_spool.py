"""The spool: files are whole or absent, and the disk keeps what it must."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from client.dicom_node.spool import LOOK_AT_DISK_EVERY_BYTES, Spool

EVERYTHING = 1 << 62
"""More than any disk has."""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", min_free_bytes=0)


def test_a_file_appears_when_it_is_whole_and_is_ours_alone(spool: Spool) -> None:
    arrival = spool.open()
    arrival.write(b"first ")
    arrival.write(b"second")
    assert list(spool.folder.glob("*.dcm")) == []
    path = arrival.commit()
    assert path.read_bytes() == b"first second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert list(spool.folder.iterdir()) == [path]


def test_a_discarded_file_leaves_nothing_and_takes_nothing_more(spool: Spool) -> None:
    arrival = spool.open()
    arrival.write(b"half")
    arrival.discard()
    assert list(spool.folder.iterdir()) == []
    with pytest.raises(OSError, match="abort"):
        arrival.write(b"more")
    with pytest.raises(OSError, match="abort"):
        arrival.commit()
    assert list(spool.folder.iterdir()) == []


def test_a_whole_file_cannot_be_discarded(spool: Spool) -> None:
    arrival = spool.open()
    path = arrival.commit()
    arrival.discard()
    assert path.exists()


def test_a_new_process_deletes_what_was_half_and_keeps_what_was_whole(spool: Spool) -> None:
    whole = spool.open().commit()
    spool.open().write(b"half")
    again = Spool(spool.folder, min_free_bytes=0)
    assert list(spool.folder.iterdir()) == [whole]
    assert again.open().commit() != whole


def test_nothing_begins_on_a_disk_that_is_too_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path, min_free_bytes=EVERYTHING)
    with pytest.raises(OSError, match="space") as caught:
        spool.open()
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_up_on_the_way_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, min_free_bytes=0)
    arrival = spool.open()
    arrival.write(b"x")
    monkeypatch.setattr(spool, "_min_free_bytes", EVERYTHING)
    with pytest.raises(OSError, match="space"):
        arrival.write(bytes(LOOK_AT_DISK_EVERY_BYTES))
