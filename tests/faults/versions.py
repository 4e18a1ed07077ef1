"""Another version of the product: a copy of its packages under another number, and a role that runs it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploy.demo.federation import Role

TREE = Path(__file__).parents[2]
PACKAGES = ("server", "client", "shared")
SPOKEN = {
    "shared/record.py": r"^PROTOCOL, MOST_PROTOCOL = (\d+)",
    "shared/enrolment/statement.py": r"^PROTOCOL_VERSION = (\d+)",
}


def copy_of(folder: Path, version: str, *, protocols_older: int = 0) -> Path:
    """Copy the packages into a folder, to be found there under this version, with protocols so much older."""
    for name in PACKAGES:
        shutil.copytree(TREE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    about = folder / f"mammofed-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mammofed\nVersion: {version}\n")
    for name, pattern in SPOKEN.items():
        file = folder / name
        text = file.read_text()
        spoken = re.search(pattern, text, re.MULTILINE)
        assert spoken is not None
        older = str(int(spoken[1]) - protocols_older)
        file.write_text(text[: spoken.start(1)] + older + text[spoken.end(1) :])
    return folder


@contextlib.contextmanager
def running_version(role: Role, copy: Path) -> Iterator[None]:
    """Let a role that runs go on under another version, and under this one again when the block is left."""
    before = role.environment
    role.stop()
    role.environment = {**before, "PYTHONPATH": str(copy)}
    try:
        role.start()
        yield
    finally:
        role.stop()
        role.environment = before
        role.start()
