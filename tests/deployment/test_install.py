"""docs/install.md, line by line, on a bare Debian that is cut off the network."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle import build
from deploy.demo.federation import Role, coordinator, wait_until
from deploy.demo.phantoms import HOLOGIC, write_hospital
from tests.deployment.conftest import NEXT
from tests.deployment.debian_box import Box, bare_debian, booted, obstacle

OBSTACLE = obstacle()
pytestmark = [
    pytest.mark.long,
    pytest.mark.netns,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)),
]

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_MINUTES, MOST_COMMANDS = 10, 5
HOME = "/var/lib/mammofed-site"


@pytest.fixture
def box(release: Path, tmp_path: Path) -> Iterator[Box]:
    """A bare Debian with the archives, the key and a hospital's images, booted without a network."""
    root = bare_debian(tmp_path)
    for file in (*release.glob("*.tar"), release / "mammofed-release.gpg"):
        shutil.copy(file, root / "root")
    images = root / "srv" / "images"
    list(
        write_hospital(
            images, vendor=HOLOGIC, patients=12, seed=1, density_mix={"b": 0.5, "c": 0.5}, spacing_mm=0.25
        )
    )
    with booted(root) as box:
        yield box


@pytest.fixture
def head(box: Box, tmp_path: Path) -> Iterator[Role]:
    """A running coordinator that the box reaches, on the same loopback."""
    role = coordinator(tmp_path / "coordinator", prefix=("ip", "netns", "exec", box.namespace))
    role.run("init", "--name", "Density study")
    role.start()
    yield role
    role.stop()


def documented_commands(**values: str) -> list[str]:
    """The commands under "A site in five commands", with the words in capitals filled in."""
    page = (REPOSITORY / "docs" / "install.md").read_text()
    block = page.partition("## A site in five commands")[2].partition("```sh\n")[2].partition("```")[0]
    return [re.sub(r"\b[A-Z]+\b", lambda word: values[word[0]], line) for line in block.splitlines()]


def test_a_site_is_installed_checked_updated_taken_back_and_uninstalled_without_a_network(
    box: Box, head: Role
) -> None:
    assert len(box.run("cat /proc/net/route").splitlines()) == 1, "there is a route"
    before = box.files()
    token = head.ask("site", "invite", "aarhus")["token"]
    commands = documented_commands(VERSION=build.version(), TOKEN=token, FOLDER="/srv/images")
    assert len(commands) <= MOST_COMMANDS

    began = time.monotonic()
    printed = [box.run(command) for command in commands]

    # `check` is all green, and the service runs.
    assert time.monotonic() - began < MOST_MINUTES * 60
    assert "✗" not in printed[-1]
    assert "training step: loss" in printed[-1]
    assert box.run("systemctl is-active mammofed-site").strip() == "active"
    wait_until(lambda: "waiting" in box.run("mammofed-site status"), 30, "contact with the coordinator")

    # A real training step under the unit's own system-call filter, on all cores.
    unit = (box.root / "etc/systemd/system/mammofed-site.service").read_text()
    changes = {"Type=exec": "Type=oneshot", "Restart=on-failure\n": "", "site serve": "site check"}
    for old, new in changes.items():
        assert old in unit
        unit = unit.replace(old, new)
    filtered = box.root / "etc/systemd/system/filtered.service"
    filtered.write_text(unit)
    box.run("systemctl daemon-reload; systemctl start filtered")
    told = box.run("journalctl --unit filtered --output cat --no-pager")
    assert "training step: loss" in told
    assert re.findall(r"CPU, \d+ threads", told) == re.findall(r"CPU, \d+ threads", printed[-1])
    filtered.unlink()

    # The clinic's node is there and not switched on; one that runs is running after an update, too.
    node = "mammofed-site-dicom"
    assert box.run(f"systemctl is-enabled {node} || true").strip() == "disabled"
    assert box.run(f"systemctl is-active {node} || true").strip() == "inactive"
    stand_in = f"/etc/systemd/system/{node}.service.d/stand-in.conf"
    box.run(
        f"mkdir -p {Path(stand_in).parent}; printf '[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n' "
        f">{stand_in}; systemctl daemon-reload; systemctl start {node}"
    )
    pid = box.run(f"systemctl show --property MainPID --value {node}").strip()

    # An update beside the old version, and back, with the same data and membership.
    box.run(
        f"tar -xf mammofed-site-{NEXT}.tar && mammofed-site-{NEXT}/setup install --key mammofed-release.gpg"
    )
    assert box.run("readlink /opt/mammofed/site/current").strip() == NEXT
    assert box.run("systemctl is-active mammofed-site").strip() == "active"
    assert box.run(f"systemctl is-active {node}").strip() == "active"
    assert box.run(f"systemctl show --property MainPID --value {node}").strip() != pid
    box.run(f"systemctl stop {node}; rm -r {Path(stand_in).parent}; systemctl daemon-reload")
    box.run("/opt/mammofed/site/setup rollback")
    assert box.run(f"systemctl is-active {node} || true").strip() == "inactive"
    assert box.run("readlink /opt/mammofed/site/current").strip() == build.version()
    wait_until(lambda: "waiting" in box.run("mammofed-site status"), 60, "contact after the rollback")
    assert "store.rewound" in box.run("mammofed-site audit show")

    # Nothing stays but the data, and it is said where.
    said = box.run("/opt/mammofed/site/setup uninstall")
    assert f"the data stay in {HOME}" in said
    assert box.files() - before == set()
    assert (box.root / HOME[1:] / "site.db").is_file()
    assert (box.root / HOME[1:]).stat().st_uid == 0
    assert box.run("getent passwd mammofed-site || echo gone").strip() == "gone"
