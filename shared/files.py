"""Files that are whole or absent, and folders that one process holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.errors import ConfigError, HomeError, StoreError

PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
PRIVATE_FOLDER = 0o700
MAX_SECRET_BYTES = 4096


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may read, with its parents.

    Raises
    ------
    StoreError
        The disk refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    except OSError as error:
        raise _refused(error) from error


def write_file(path: Path, data: bytes, *, mode: int = PRIVATE_FILE, is_durable: bool = True) -> None:
    """Write a file by replacing it whole: a reader sees the old bytes or the new, never a part.

    Bytes and name are on the disk when this returns, unless the file need not be durable: a note that may be
    lost in a power cut. The temporary file has mode 0600, so that a secret is never readable by others.

    Raises
    ------
    StoreError
        The disk refused.
    """
    make_private_folder(path.parent)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                file.flush()
                if is_durable:
                    os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if is_durable:
            sync_folder(path.parent)
    except OSError as error:
        raise _refused(error) from error


def is_open_to_others(path: Path) -> bool:
    """Whether others than the owner may do anything with a file. Raises OSError."""
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO))


def read_secret_line(file: Path, *, what: str, setting: str) -> str:
    """The one line of a file that holds a secret, such as a password.

    Parameters
    ----------
    what
        What it holds, for messages: `the database's address`.
    setting
        The setting that names it.

    Raises
    ------
    ConfigError
        The file cannot be read, is open to others, or holds no line.
    """
    try:
        open_to_others = is_open_to_others(file)
        with file.open("rb") as stream:
            line = stream.read(MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The file with {what} cannot be read.", f"Name the file that holds it: {setting}."
        ) from error
    if open_to_others:
        raise ConfigError(
            f"The file with {what} is open to other users of this machine.",
            "Give it mode 0600; change the secret in it if others may have read it.",
        )
    if not line.isprintable() or not line:
        raise ConfigError(f"The file with {what} holds no such line.", "Write it on one line, alone.")
    return line


def sync_folder(folder: Path) -> None:
    """Make names that were created or replaced in a folder survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(error: OSError) -> StoreError:
    return StoreError(
        f"A file cannot be written: {error.strerror}.", "Free disk space or correct the folder's permissions."
    )


class BusyError(HomeError):
    """Another process holds what one alone may; it can be tried again later."""


def is_held(folder: Path) -> bool:
    """Whether a running process holds a folder by `hold_folder`."""
    try:
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def hold_folder(
    folder: Path,
    busy: str = "It is already running with this home folder.",
    remedy: str = "Stop the running one first.",
) -> Iterator[None]:
    """Hold a folder of the home for one running process; the hold ends with the process.

    Parameters
    ----------
    busy, remedy
        Message and hint where another process holds it.

    Raises
    ------
    BusyError
        Another process holds it.
    HomeError
        It cannot be written.
    """
    try:
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise HomeError(
            "The home is not a folder that can be written.", "Name another home or correct its permissions."
        ) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(busy, remedy) from error
        yield
