"""A wheel of mammofed for one role alone: the other role's code and command are left out."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

PACKAGE_OF = {"site": "client", "coordinator": "server"}
COMMAND_OF = {"site": "mammofed-site", "coordinator": "mammofed-coordinator"}
EPOCH = (1980, 1, 1, 0, 0, 0)


def keep_role(wheel: Path, role: str, folder: Path) -> Path:
    """Write the wheel without the other role into a folder, under the same name; same input, same bytes."""
    others = [package for one, package in PACKAGE_OF.items() if one != role]
    kept = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as target:
        rows = []
        for name in sorted(source.namelist()):
            if name.partition("/")[0] in others or name.endswith("/RECORD"):
                continue
            content = source.read(name)
            if name.endswith("/entry_points.txt"):
                content = _entry_points(content, role)
            _write(target, name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            rows.append((name, f"sha256={digest}", str(len(content))))
        record = next(name for name in source.namelist() if name.endswith("/RECORD"))
        _write(target, record, _record([*rows, (record, "", "")]))
    return kept


def _entry_points(content: bytes, role: str) -> bytes:
    others = tuple(f"{command} =" for one, command in COMMAND_OF.items() if one != role)
    lines = [line for line in content.decode().splitlines() if not line.startswith(others)]
    return "\n".join([*lines, ""]).encode()


def _record(rows: list[tuple[str, str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    target.writestr(entry, content)
