"""Archives as they are handed over, and as attackers build them; no attack leaves anything behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.intake import unpacking
from client.intake.archives import is_archive, unpacked
from client.intake.candidates import Source
from client.intake.exclusions import IntakeRules
from client.intake.sources import open_source
from deploy.demo.phantoms import GE, write_hospital
from shared.errors import IntakeError, MammofedError, StoreError, UndecodableError
from tests.full_disk import disk_that_holds

FORMS = ["zip stored", "zip deflated", "tar", "tar gz", "tar bz2", "tar xz"]
MIB = 1 << 20
Files = Mapping[str, bytes]


def pack(path: Path, files: Files, form: str) -> Path:
    """Write an archive by the library that everybody uses."""
    if form.startswith("zip"):
        method = zipfile.ZIP_STORED if form == "zip stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{form[4:]}") as tar:
            for name, content in files.items():
                add(tar, name, content)
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **attributes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    tar.addfile(member, io.BytesIO(content))


def unpack(path: Path, spool: Path) -> dict[str, bytes]:
    """What an archive unpacks to; checks that it is gone afterwards."""
    try:
        with unpacked(path, spool, quiet) as folder:
            assert spool in folder.parents
            assert not any(one.is_symlink() for one in folder.rglob("*"))
            return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    finally:
        assert list(spool.iterdir()) == []


def refuse(path: Path, spool: Path) -> MammofedError:
    """The error by which an archive is refused, which leaves nothing behind and names nobody."""
    with pytest.raises(MammofedError) as caught:
        unpack(path, spool)
    told = caught.value.message + caught.value.hint
    assert "JANE" not in told
    assert str(path.parent) not in told
    return caught.value


def look(path: Path) -> Source:
    return open_source(path, IntakeRules(), quiet)


def quiet(_done: int, _total: int) -> None:
    """Nobody is watching."""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "home/incoming"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("source") / "hospital"
    list(write_hospital(folder, vendor=GE, patients=1, seed=3, density_mix={"b": 1.0}, spacing_mm=0.5))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- archives as they should be


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("above", ["", "export/"])
def test_a_packed_hospital_is_the_hospital_with_its_masks(
    hospital: Files, tmp_path: Path, spool: Path, form: str, above: str
) -> None:
    path = pack(tmp_path / "JANE", {above + name: content for name, content in hospital.items()}, form)
    assert is_archive(path)
    with unpacked(path, spool, quiet) as folder:
        source = look(folder)
        assert [candidate.has_mask for candidate in source.candidates] == [True, True]
        assert source.candidates[0].load()[0].pixels_HW.any()
        assert spool.stat().st_mode & 0o777 == 0o700
        assert all(one.stat().st_mode & 0o777 == 0o700 for one in spool.iterdir())
    assert list(spool.iterdir()) == []


def test_an_archive_keeps_the_paths_that_an_index_lists(tmp_path: Path, spool: Path) -> None:
    files = {"x/index.csv": b"image,label\na/1.png,b/1.png\n", "x/a/1.png": b"1", "x/b/1.png": b"2"}
    assert unpack(pack(tmp_path / "a", files, "zip deflated"), spool) == {
        name.removeprefix("x/"): content for name, content in files.items()
    }


def test_a_folder_of_masks_alone_stays_a_folder_of_masks(tmp_path: Path, spool: Path) -> None:
    files = {"masks/1.2.3.png": b"1", "__MACOSX/masks/._1.2.3.png": b"2"}
    assert set(unpack(pack(tmp_path / "a", files, "tar gz"), spool)) == set(files)


def test_a_zip_with_sizes_of_64_bits_is_read(tmp_path: Path, spool: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a", "w") as archive,
        archive.open("image", "w", force_zip64=True) as file,
    ):
        file.write(b"abc")
    assert unpack(tmp_path / "a", spool) == {"image": b"abc"}


def test_windows_separators_are_folders(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "a", {"cd\\IMAGES\\IM1": b"1", "cd\\DICOMDIR": b"2"}, "zip stored")
    assert unpack(path, spool) == {"IMAGES/IM1": b"1", "DICOMDIR": b"2"}


def test_names_that_cannot_be_used_are_replaced_and_no_image_is_lost(tmp_path: Path, spool: Path) -> None:
    long, deep = "x" * 300, "/".join("d" * 40) + "/image"
    files = {"a": b"1", long: b"2", "a/below a file": b"3", deep: b"4", "b": b"5"}
    found = unpack(pack(tmp_path / "a", files, "tar"), spool)
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert (found["a"], found["b"]) == (b"1", b"5")


def test_an_archive_is_removed_when_the_import_fails(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "a", {"image": b"1"}, "tar")
    with pytest.raises(KeyboardInterrupt), unpacked(path, spool, quiet):
        raise KeyboardInterrupt
    assert list(spool.iterdir()) == []


# -- finding them


@pytest.mark.timeout(20)
def test_archives_are_found_by_content_and_in_a_fixed_order(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "masks").mkdir()
    for name, form in (
        ("z", "zip stored"),
        ("deep/b.dcm", "tar xz"),
        ("c", "tar"),
        ("masks/a", "zip stored"),
    ):
        pack(source / name, {"image": b"1"}, form)
    (source / "mask.nii.gz").write_bytes(gzip.compress(b"no tar" * 200))
    (source / "damaged.tgz").write_bytes(gzip.compress(os.urandom(2000))[:200])
    (source / "text.zip").write_text("no zip")
    (source / "zeros").write_bytes(bytes(4096))
    os.mkfifo(source / "pipe.zip")
    (source / "link").symlink_to("nowhere")
    looked = look(source)
    assert [one.path.relative_to(source).as_posix() for one in looked.archives] == [
        "c",
        "damaged.tgz",
        "deep/b.dcm",
        "z",
    ]
    # The others are the link and the pipe, which cannot be read, and what is neither image nor archive.
    assert looked.num_ignored + len(looked.refusals) == 5
    named = look(source / "z")
    assert ([one.path for one in named.archives], named.num_ignored) == ([source / "z"], 0)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["text", "gzip of text", "empty", "pipe", "folder"])
def test_what_is_no_archive_is_refused(tmp_path: Path, spool: Path, kind: str) -> None:
    path = tmp_path / "JANE"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        content = {"text": b"letter", "gzip of text": gzip.compress(b"letter"), "empty": b""}
        path.write_bytes(content[kind])
    assert not is_archive(path)
    assert "no zip or tar" in refuse(path, spool).message


# -- attacks


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name", ["../JANE", "a/../../JANE", "..\\JANE", "/../JANE", "../../../../../../tmp/JANE"]
)
def test_attack_path_traversal(tmp_path: Path, spool: Path, form: str, name: str) -> None:
    error = refuse(pack(tmp_path / "archive", {"image": b"1", name: b"evil"}, form), spool)
    assert "built to write outside" in error.message
    assert not list(tmp_path.rglob("JANE*"))


@pytest.mark.parametrize("form", FORMS)
def test_attack_absolute_path(tmp_path: Path, spool: Path, form: str) -> None:
    target = tmp_path / "target"
    found = unpack(pack(tmp_path / "archive", {str(target): b"evil", "other": b"1"}, form), spool)
    assert found == {str(target).lstrip("/"): b"evil", "other": b"1"}
    assert not target.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_attack_writing_through_a_link_of_a_tar(tmp_path: Path, spool: Path, kind: bytes) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"whole")
    with tarfile.open(tmp_path / "archive", "w") as tar:
        add(tar, "folder", type=tarfile.SYMTYPE, linkname=str(outside))
        add(tar, "folder/evil", b"evil")
        add(tar, "link", type=kind, linkname=str(outside / "file"))
        add(tar, "link", b"evil")
    assert unpack(tmp_path / "archive", spool) == {"folder/evil": b"evil", "link": b"evil"}
    assert [(one.name, one.read_bytes()) for one in outside.iterdir()] == [("file", b"whole")]


def test_attack_writing_through_a_link_of_a_zip(tmp_path: Path, spool: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        link = zipfile.ZipInfo("folder")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(outside))
        archive.writestr("folder/evil", b"evil")
        archive.writestr("image", b"1")
    assert unpack(tmp_path / "archive", spool) == {"folder/evil": b"evil", "image": b"1"}
    assert list(outside.iterdir()) == []


def test_attack_devices_and_pipes_in_a_tar(tmp_path: Path, spool: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as tar:
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            add(tar, "device", type=kind, devmajor=1, devminor=5)
        add(tar, "image", b"1", mode=0o6777)
    with unpacked(tmp_path / "archive", spool, quiet) as folder:
        (only,) = folder.iterdir()
        assert only.is_file()
        assert only.stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_attack_second_member_of_the_same_name_replaces_nothing(
    tmp_path: Path, spool: Path, form: str
) -> None:
    path = tmp_path / "archive"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("masks/1.png", b"first")
            archive.writestr("masks/1.png", b"evil")
    else:
        with tarfile.open(path, "w") as tar:
            add(tar, "masks/1.png", b"first")
            add(tar, "./masks//1.png", b"evil")
    found = unpack(path, spool)
    assert found["masks/1.png"] == b"first"
    assert sorted(found.values()) == [b"evil", b"first"]


@pytest.fixture
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "SMALL_BYTES", 8 * MIB)


@pytest.mark.usefixtures("_small_limit")
@pytest.mark.parametrize("form", ["zip deflated", "tar gz", "tar bz2", "tar xz"])
def test_attack_decompression_bomb(tmp_path: Path, spool: Path, form: str) -> None:
    path = pack(tmp_path / "archive", {"image": bytes(unpacking.SMALL_BYTES + 1)}, form)
    assert "far more" in refuse(path, spool).message


@pytest.mark.usefixtures("_small_limit")
def test_attack_bomb_of_many_members(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "archive", {f"{n}": bytes(MIB) for n in range(9)}, "zip deflated")
    assert "far more" in refuse(path, spool).message


def test_attack_zip_that_declares_less_than_it_holds(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "archive", {"image": bytes(range(256)) * 100}, "zip deflated")
    content = bytearray(path.read_bytes())
    for at in (22, content.rindex(b"PK\1\2") + 24):  # uncompressed size, APPNOTE 4.3.7 and 4.3.12
        content[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(content)
    assert isinstance(refuse(path, spool), UndecodableError)


@pytest.mark.usefixtures("_small_limit")
def test_attack_headers_alone_are_a_bomb(tmp_path: Path, spool: Path) -> None:
    header = tarfile.TarInfo("folder")
    header.type = tarfile.DIRTYPE
    with lzma.open(tmp_path / "archive", "wb", preset=1) as file:
        for _ in range(unpacking.SMALL_BYTES // MIB + 1):
            file.write(header.tobuf() * (MIB // tarfile.BLOCKSIZE))
    assert "far more" in refuse(tmp_path / "archive", spool).message


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_attack_header_that_fills_the_memory(tmp_path: Path, spool: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 50 * MIB
    (tmp_path / "archive").write_bytes(header.tobuf() + bytes(1024))
    assert "mislead" in refuse(tmp_path / "archive", spool).message


@pytest.mark.timeout(20)
def test_attack_header_that_leads_back_in_a_circle(tmp_path: Path, spool: Path) -> None:
    first, second = tarfile.TarInfo("a"), bytearray(tarfile.TarInfo("b").tobuf())
    second[124:136] = b"\xff" * 10 + b"\xfc\x00"  # a negative size in base 256: back to the beginning
    checksum = sum(second[:148]) + sum(second[156:]) + 8 * ord(" ")
    second[148:156] = b"%06o\0 " % checksum
    (tmp_path / "archive").write_bytes(first.tobuf() + second + bytes(1024))
    assert isinstance(refuse(tmp_path / "archive", spool), IntakeError)


def test_attack_sparse_member_of_a_petabyte(tmp_path: Path, spool: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w", format=tarfile.PAX_FORMAT) as tar:
        sparse = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50), "GNU.sparse.name": "image"}
        add(tar, "image", b"1", pax_headers=sparse)
    assert "far more" in refuse(tmp_path / "archive", spool).message


def test_attack_too_many_members(tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    path = pack(tmp_path / "archive", {str(n): b"" for n in range(4)}, "tar")
    assert "far more" in refuse(path, spool).message


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text("ab./\\~: \n\0\u202e\xfc", min_size=1, max_size=12), min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_members_are_called_all_of_them_lie_inside_or_none_does(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    place = tmp_path_factory.mktemp("names")
    with zipfile.ZipFile(place / "archive", "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"1")
    names = [name.split("\0")[0] for name in names]
    num_files = sum(not name.endswith("/") for name in names)
    try:
        assert len(unpack(place / "archive", place / "spool")) == num_files
    except IntakeError:
        assert "" in names or any(".." in name for name in names)
    assert sorted(one.name for one in place.iterdir()) == ["archive", "spool"]


# -- encrypted, unknown and damaged


def test_an_encrypted_zip_is_refused_in_words_that_help(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "archive", {"a": b"1", "JANE": b"2"}, "zip stored")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # bit flag of the last member, APPNOTE 4.3.12
    path.write_bytes(content)
    error = refuse(path, spool)
    assert error.message == "The archive is encrypted."
    assert "password" in error.hint


def test_a_zip_of_an_unknown_compression_is_refused_in_words_that_help(tmp_path: Path, spool: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("image", b"1")
    assert "compressed in a way" in refuse(tmp_path / "archive", spool).message


def cut(content: bytes, share: float) -> bytes:
    return content[: max(600, int(len(content) * share))]


def flip(content: bytes, share: float) -> bytes:
    at = int(len(content) * share)
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_an_archive_that_was_cut_off_is_refused_whole(
    tmp_path: Path, spool: Path, form: str, share: float
) -> None:
    path = pack(tmp_path / "archive", {f"{n}": os.urandom(5000) for n in range(5)}, form)
    path.write_bytes(cut(path.read_bytes(), share))
    assert isinstance(refuse(path, spool), UndecodableError)


def test_a_tar_that_was_cut_off_between_two_members_is_refused(tmp_path: Path, spool: Path) -> None:
    path = pack(tmp_path / "archive", {"a": bytes(512), "b": bytes(512)}, "tar")
    path.write_bytes(path.read_bytes()[:1024])
    assert isinstance(refuse(path, spool), UndecodableError)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "tar"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_changed_byte_in_an_archive_is_found_by_its_check_sum(
    tmp_path: Path, spool: Path, form: str, share: float
) -> None:
    path = pack(tmp_path / "archive", {"a": os.urandom(2 * MIB)}, form)  # more than a block of bzip2
    path.write_bytes(flip(path.read_bytes(), share))
    assert isinstance(refuse(path, spool), UndecodableError)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    files = {"export/a": b"1" * 700, "export/masks/b": bytes(range(256))}
    return {form: pack(folder / "archive", files, form).read_bytes() for form in FORMS}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_bytes_flipped_anywhere_give_files_or_an_error_of_ours(
    small: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(small[data.draw(st.sampled_from(FORMS))])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 1600) - 1))] = data.draw(st.integers(0, 255))
    place = tmp_path_factory.mktemp("flipped")
    (place / "archive").write_bytes(content)
    with contextlib.suppress(IntakeError):
        unpack(place / "archive", place / "spool")
    assert sorted(one.name for one in place.iterdir()) == ["archive", "spool"]


# -- the disk


@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, spool: Path, form: str) -> None:
    path = pack(tmp_path / "archive", {"a": b"1", "JANE": os.urandom(3 * MIB)}, form)
    with disk_that_holds(2 * MIB):
        error = refuse(path, spool)
    assert isinstance(error, StoreError)


@pytest.mark.parametrize("form", FORMS)
def test_a_disk_without_room_is_noticed_before_it_is_full(
    tmp_path: Path, spool: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "KEPT_FREE_BYTES", 1 << 60)
    error = refuse(pack(tmp_path / "archive", {"a": b"1"}, form), spool)
    assert isinstance(error, StoreError)
    assert "not enough free disk space" in error.message


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path, spool: Path) -> None:
    error = refuse(tmp_path / "gone", spool)
    assert (type(error), error.message) == (IntakeError, "The file cannot be read.")
