"""Files that are whole or absent, and folders that one process holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import HomeError, StoreError
from shared.files import hold_folder, make_private_folder, write_file
from tests.full_disk import disk_that_holds


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file"

    write_file(file, b"content")

    assert file.read_bytes() == b"content"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0
    assert names_in(file.parent) == ["file"]


def test_a_mode_on_purpose_is_kept(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"content", mode=0o644)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_write_that_the_disk_refuses_leaves_the_old_bytes_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_file(file, b"old")

    with disk_that_holds(1000), pytest.raises(StoreError) as caught:
        write_file(file, b"new" * 1000)

    assert file.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]
    assert str(tmp_path) not in caught.value.message + caught.value.hint


def test_a_folder_in_the_place_of_a_file_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").touch()

    with pytest.raises(StoreError):
        write_file(tmp_path / "file", b"content")

    assert names_in(tmp_path) == ["file"]
    assert (tmp_path / "file" / "inside").exists()


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()

    with pytest.raises(StoreError):
        make_private_folder(tmp_path / "folder")
    with pytest.raises(StoreError):
        write_file(tmp_path / "folder" / "file", b"content")


def test_a_folder_that_is_held_is_refused_to_a_second_holder(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        with pytest.raises(HomeError, match="already running"), hold_folder(tmp_path):
            pass
        with pytest.raises(HomeError), hold_folder(tmp_path):
            pass

    with hold_folder(tmp_path):
        pass


def test_a_hold_ends_with_the_process_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, shared.files\n"
        "with shared.files.hold_folder(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HomeError), hold_folder(tmp_path):
            pass
        holder.kill()
        holder.wait(10)

    with hold_folder(tmp_path):
        pass


def test_a_folder_that_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(HomeError), hold_folder(tmp_path / "missing"):
        pass
