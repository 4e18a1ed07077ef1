"""The address of a database in PostgreSQL: a secret in a file of its own, for it may hold a password."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.errors import ConfigError
from shared.files import read_secret_line


def read_address(file: Path) -> SecretStr:
    """The address that a file holds, on one line.

    Raises
    ------
    ConfigError
        The file cannot be read, is open to others, or holds no such address.
    """
    address = read_secret_line(
        file, what="the database's address", setting="`database_file` in coordinator.toml"
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
    return parts.scheme == "postgresql" and len(parts.path) > 1
