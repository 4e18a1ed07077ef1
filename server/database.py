"""The address of a database in PostgreSQL: a secret in a file of its own, for it may hold a password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.errors import ConfigError
from shared.files import is_open_to_others

_MAX_FILE_BYTES = 4096


def read_address(file: Path) -> SecretStr:
    """The address that a file holds, on one line.

    Raises
    ------
    ConfigError
        The file cannot be read, is open to others, or holds no such address.
    """
    try:
        open_to_others = is_open_to_others(file)
        with file.open("rb") as stream:
            address = stream.read(_MAX_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The file with the database's address cannot be read.",
            "Name the file that holds it: `database_file` in coordinator.toml.",
        ) from error
    if open_to_others:
        raise ConfigError(
            "The file with the database's address is open to other users of this machine.",
            "Give it mode 0600; change the password in it if others may have read it.",
        )
    if not _is_address(address):
        raise ConfigError(
            "The file with the database's address holds none.",
            "Write it on one line: `postgresql://USER:PASSWORD@HOST/NAME`.",
        )
    return SecretStr(address)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme == "postgresql" and len(parts.path) > 1 and text.isprintable()
