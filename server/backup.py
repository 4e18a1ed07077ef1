"""The coordinator's home in one file, and back: keys, settings, database, every blob that the database names.

The file holds the federation's private keys, so that it is sealed by a passphrase: whoever has both is the
coordinator. Nothing of a backup is in force before all of it was verified.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from server.backup_archive import FORMAT, Manifest, unpack, write_archive
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.store import AuditLog, Federation
from server.store.opening import DATABASE_FILE, open_coordinator_store
from server.store.sign_ins import SignIns
from shared.audit.chain import Break, verify_chain
from shared.audit.events import BackupRestored, BackupTaken
from shared.errors import HomeError, StoreError, TamperedError
from shared.files import make_private_folder, sync_folder
from shared.store import copy_sqlite
from shared.trust.passphrase import Passphrase


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


def back_up(home: CoordinatorHome, target: Path, passphrase: Passphrase, *, now: float, actor: str) -> Backup:
    """Write a backup; the coordinator may be running.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    ConfigError
        The passphrase is too short.
    StoreError
        The file exists already, or a disk refuses.
    """
    passphrase.check_length()
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
            write_archive(target, manifest, sources | blobs, passphrase)
    except OSError as error:
        raise _refused(error) from error
    return _described(manifest, target.stat().st_size)


def restore(
    archive: Path, home: CoordinatorHome, passphrase: Passphrase, *, now: float, actor: str
) -> Backup:
    """Make a home of a backup, verify it whole, and end the invitations and sign-ins that are open in it.

    Raises
    ------
    HomeError
        There is something in the folder already.
    ConfigError
        The file is no backup, or of a later version.
    TrustError
        The passphrase is another.
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
        manifest = unpack(archive, staging.folder, passphrase)
        _begin_anew(staging, now=now, actor=actor)
        if folder.exists():
            folder.rmdir()
        staging.folder.rename(folder)
        sync_folder(folder.parent)
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


def _refused(error: OSError) -> StoreError:
    return StoreError(
        f"A file of the backup cannot be read or written: {error.strerror}.",
        "Check the file's name, the folder's permissions and the space on the disk.",
    )
