"""The form of a backup: a tar (POSIX.1-2001), sealed by a passphrase, whose first member tells of all others.

It is written and read as a stream, so that a store of any size needs no memory and no second place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from server.store.opening import DATABASE_FILE
from shared.errors import ConfigError, TamperedError
from shared.files import PRIVATE_FILE, sync_folder
from shared.trust.passphrase import Passphrase, UnsealingReader, sealing

FORMAT = 1
MANIFEST = "manifest.json"
SETTINGS = "coordinator.toml"
_CHUNK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The first member of an archive: all others, by name, with their SHA-256 (hex)."""

    format: int
    federation: str
    software: str
    taken_at: float
    has_database: bool
    files: Mapping[str, str]

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read one. Raises ConfigError if it is none, or names a file outside of a home."""
        try:
            manifest = cls(**json.loads(content))
            is_ours = manifest.format == FORMAT and all(_is_inside(name) for name in manifest.files)
        except (ValueError, TypeError, AttributeError) as error:
            raise _no_backup() from error
        if not is_ours:
            raise _no_backup()
        return manifest


def write_archive(
    target: Path, manifest: Manifest, sources: Mapping[str, Path], passphrase: Passphrase
) -> None:
    """Write files, by their names in the archive: whole or not at all, its owner's alone. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with (
                sealing(file, passphrase) as sealed,
                tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                content = json.dumps(asdict(manifest)).encode()
                archive.addfile(_entry(MANIFEST, len(content)), io.BytesIO(content))
                for name, source in sorted(sources.items()):
                    with source.open("rb") as stream:
                        archive.addfile(_entry(name, source.stat().st_size), stream)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(target)
        sync_folder(target.absolute().parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _entry(name: str, size_bytes: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size_bytes, PRIVATE_FILE
    return entry


def unpack(source: Path, folder: Path, passphrase: Passphrase) -> Manifest:
    """Unpack an archive into an empty folder, after all of it was verified; returns what it tells of itself.

    Raises
    ------
    ConfigError
        The file is no backup, or of a later version.
    TrustError
        The passphrase is another.
    TamperedError
        Something of it is missing, changed or not told of. What is in the folder then is to be removed.
    OSError
        The disk refuses.
    """
    with source.open("rb") as file:
        UnsealingReader(file, passphrase).drain()
        file.seek(0)
        try:
            with tarfile.open(fileobj=UnsealingReader(file, passphrase), mode="r|") as archive:
                manifest = _read_manifest(archive)
                _unpack(archive, manifest.files, folder)
        except tarfile.TarError as error:
            raise _no_backup() from error
    return manifest


def _read_manifest(source: tarfile.TarFile) -> Manifest:
    first = source.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MAX_MANIFEST_BYTES:
        raise _no_backup()
    stream = source.extractfile(first)
    assert stream is not None  # a regular file
    return Manifest.from_bytes(stream.read())


def _is_inside(name: str) -> bool:
    """Whether a name stays below the home, and is one that a backup has."""
    parts = name.split("/")
    known = name in {SETTINGS, DATABASE_FILE} or parts[0] in {"keys", "blobs"}
    return known and not {"", ".", ".."} & set(parts)


def _unpack(source: tarfile.TarFile, digests: Mapping[str, str], folder: Path) -> None:
    missing = set(digests)
    for entry in _members(source):
        if entry.name not in missing or not entry.isreg():
            raise TamperedError("The backup holds a file that it does not tell of.", "Use another backup.")
        missing.remove(entry.name)
        target = folder / entry.name
        for above in reversed(Path(entry.name).parents):
            (folder / above).mkdir(mode=0o700, exist_ok=True)
        stream, digest = source.extractfile(entry), hashlib.sha256()
        assert stream is not None  # a regular file
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb") as file:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != digests[entry.name]:
            raise TamperedError("A file of the backup is damaged.", "Use another backup.")
    if missing:
        raise TamperedError("The backup lacks files that it tells of.", "Use another backup.")


def _members(source: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := source.next()) is not None:
        yield entry


def _no_backup() -> ConfigError:
    return ConfigError(
        "The file is no backup of a coordinator, or one of a later version.",
        "Name a file that `mammofed-coordinator backup` has written.",
    )
