"""The coordinator's home in one file, and back: keys, settings, database, every blob that the database names.

The archive is a tar (POSIX.1-2001) whose first member tells all others by their SHA-256. It holds the
federation's private keys: whoever has it is the coordinator. Nothing of a backup is in force before all of it
was verified.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.store import AuditLog, Federation
from server.store.opening import DATABASE_FILE, open_coordinator_store
from server.store.sign_ins import SignIns
from shared.audit.chain import Break, verify_chain
from shared.audit.events import BackupRestored, BackupTaken
from shared.errors import ConfigError, HomeError, StoreError, TamperedError
from shared.files import PRIVATE_FILE, make_private_folder, sync_folder
from shared.store import copy_sqlite

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds.

    Attributes
    ----------
    taken_at
        Seconds since the Unix epoch.
    has_database
        Whether the rows are in it; those of PostgreSQL are not.
    """

    federation: str
    taken_at: float
    has_database: bool
    num_files: int
    size_bytes: int


def back_up(home: CoordinatorHome, target: Path, *, now: float, actor: str) -> Backup:
    """Write a backup; the coordinator may be running.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    StoreError
        The file exists already, or a disk refuses.
    """
    if target.exists():
        raise StoreError("The backup's file exists already.", "Name another one.")
    coordinator = Coordinator.open(home)
    settings = home.settings()
    coordinator.audit.append(BackupTaken(subject="coordinator"), actor=actor, at=now)
    has_database = settings.database_file is None
    try:
        with tempfile.TemporaryDirectory(dir=home.folder, prefix=".backup.") as temporary:
            sources = _small_files(home)
            if has_database:
                sources[DATABASE_FILE] = Path(temporary) / DATABASE_FILE
                copy_sqlite(home.folder / DATABASE_FILE, sources[DATABASE_FILE])
            # After the database: each row that is in it finds its blob.
            blobs = _blobs(coordinator)
            digests = {name: _sha256(file) for name, file in sources.items()}
            manifest = Manifest(
                format=FORMAT,
                federation=settings.name,
                software=version("mammofed"),
                taken_at=now,
                has_database=has_database,
                files=digests | {name: file.name for name, file in blobs.items()},
            )
            _write_archive(target, manifest, sources | blobs)
    except OSError as error:
        raise _refused(error) from error
    return _described(manifest, target.stat().st_size)


def restore(archive: Path, home: CoordinatorHome, *, now: float, actor: str) -> Backup:
    """Make a home of a backup, verify it whole, and end the invitations and sign-ins that are open in it.

    Raises
    ------
    HomeError
        There is something in the folder already.
    ConfigError
        The file is no backup, or of a later version.
    TamperedError
        A file of it is missing, changed or not told of, or its audit log does not hold.
    StoreError
        A disk or the database refuses.
    """
    folder = home.folder
    if folder.exists() and any(folder.iterdir()):
        raise HomeError("There is something in this folder.", "Name an empty or a new one with --home.")
    staging = CoordinatorHome(folder.with_name(f"{folder.name}.restoring"))
    shutil.rmtree(staging.folder, ignore_errors=True)
    make_private_folder(staging.folder)
    try:
        with tarfile.open(archive, "r:") as source:
            manifest = _read_manifest(source)
            _unpack(source, manifest.files, staging.folder)
        _begin_anew(staging, now=now, actor=actor)
        if folder.exists():
            folder.rmdir()
        staging.folder.rename(folder)
        sync_folder(folder.parent)
    except tarfile.TarError as error:
        raise _no_backup() from error
    except OSError as error:
        raise _refused(error) from error
    finally:
        shutil.rmtree(staging.folder, ignore_errors=True)
    return _described(manifest, archive.stat().st_size)


def _begin_anew(home: CoordinatorHome, *, now: float, actor: str) -> None:
    """Open what was restored, look whether its history holds, and write down that it goes on from here."""
    engine = open_coordinator_store(home.folder, home.database(home.settings()))
    log = AuditLog(engine)
    if isinstance(verify_chain(log.lines()), Break):
        raise TamperedError("The audit log of the backup does not hold.", "Use another backup.")
    log.append(BackupRestored(subject="coordinator"), actor=actor, at=now)
    Federation(engine).withdraw_all(now=now, actor=actor)
    SignIns(engine).end_all()
    engine.dispose()


def _small_files(home: CoordinatorHome) -> dict[str, Path]:
    """Settings and keys, by their names in the archive."""
    making = home.keys_in_the_making().folder
    found = sorted(file for file in (home.folder / "keys").rglob("*") if file.is_file())
    kept = [home.settings_file, *(file for file in found if making not in file.parents)]
    return {file.relative_to(home.folder).as_posix(): file for file in kept}


def _blobs(coordinator: Coordinator) -> dict[str, Path]:
    """Blobs that rows name, by their names in the archive; a blob's own name is its digest."""
    there = [digest for digest in coordinator.kept_digests() if coordinator.blobs.has(digest)]
    return {f"blobs/blobs/{digest[:2]}/{digest}": coordinator.blobs.path(digest) for digest in there}


def _write_archive(target: Path, manifest: Manifest, sources: Mapping[str, Path]) -> None:
    """Whole or not at all, its owner's alone."""
    descriptor, temporary = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
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


def _described(manifest: Manifest, size_bytes: int) -> Backup:
    return Backup(
        federation=manifest.federation,
        taken_at=manifest.taken_at,
        has_database=manifest.has_database,
        num_files=len(manifest.files),
        size_bytes=size_bytes,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _no_backup() -> ConfigError:
    return ConfigError(
        "The file is no backup of a coordinator, or one of a later version.",
        "Name a file that `mammofed-coordinator backup` has written.",
    )


def _refused(error: OSError) -> StoreError:
    return StoreError(
        f"A file of the backup cannot be read or written: {error.strerror}.",
        "Check the file's name, the folder's permissions and the space on the disk.",
    )
