"""The systemd units: what they keep a service from, by systemd's own reckoning."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[3] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
BESIDE = {"mammofed-site-dicom": "mammofed-site"}
"""Services that act on the home of another one, as its user."""
MOST_EXPOSURE = 20
"""In tenths: systemd calls 2.0 and less "OK"; a service without any hardening has 9.6."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def section_of(file: Path) -> dict[str, str]:
    """The last value of each setting of a service."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(file)
    return dict(parser["Service"])


def test_there_is_a_unit_for_each_role() -> None:
    assert {file.stem for file in SERVICES} == {
        "mammofed-coordinator",
        "mammofed-site",
        "mammofed-site-dicom",
    }


@needs_systemd
@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.stem)
def test_a_service_is_exposed_to_little_by_systemds_own_reckoning(service: Path) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={MOST_EXPOSURE}",
            "--no-pager",
            str(service),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda file: file.name)
def test_systemd_reads_every_line_of_a_unit(unit: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    role = unit.stem.removeprefix("mammofed-").removesuffix("-dicom")
    program = root / "opt" / "mammofed" / role / "current" / "bin" / f"mammofed-{role}"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    shutil.copytree(UNITS, root / "etc" / "systemd" / "system")
    shutil.copytree("/lib/systemd/system", root / "lib" / "systemd" / "system", symlinks=True)

    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no", unit.name],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in done.stderr.splitlines() if "mammofed" in line] == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.stem)
def test_a_service_has_a_limit_on_memory_and_leaves_no_core_dump(service: Path) -> None:
    settings = section_of(service)

    is_beside = service.stem in BESIDE
    assert settings["MemoryMax"] == ("50%" if is_beside else "85%")
    assert settings["LimitCORE"] == "0"
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["User"] == BESIDE.get(service.stem, service.stem)


@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.stem)
def test_memory_that_is_writable_and_executable_is_left_to_torch_and_the_unit_says_why(service: Path) -> None:
    assert "MemoryDenyWriteExecute" not in section_of(service)
    assert "# Off on purpose. MemoryDenyWriteExecute: torch" in service.read_text()


def test_the_clinics_node_may_do_what_the_site_may_and_no_more() -> None:
    """Both act on one home: what one of them may do, the other may in effect do as well."""
    own = ("ExecStart=", "EnvironmentFile=", "MemoryHigh=", "MemoryMax=", "RestartPreventExitStatus=")
    site, node = (
        [
            line
            for line in (UNITS / f"{name}.service").read_text().partition("[Service]")[2].splitlines()
            if line and not line.startswith(("#", *own))
        ]
        for name in ("mammofed-site", "mammofed-site-dicom")
    )

    assert node == site
