"""The layers of the site's image, made as the Containerfile says, and run as an engine would run them: by a
user without rights, on a root that nobody can write."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle import build
from deploy.demo.federation import Role, coordinator, free_ports, wait_until
from deploy.demo.phantoms import HOLOGIC, write_hospital
from tests.deployment.conftest import REPOSITORY
from tests.deployment.debian_box import ENVIRONMENT, bare_debian, obstacle

OBSTACLE = obstacle() or ("not installed: bwrap" if shutil.which("bwrap") is None else None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)),
]
CONTAINERFILE = REPOSITORY / "deploy" / "containers" / "Containerfile"
USER = "10001"
LAST = "site"


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, by its name; the first of each names the stage that it stands on."""
    joined = CONTAINERFILE.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for line in lines:
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = current = [match[1]]
        elif not line.startswith("ARG"):
            current.append(line)
    return found


def make(stage: str, context: Path, base: Path, folder: Path) -> tuple[Path, dict[str, str], str]:
    """Make a stage's root; returns it with the variables and the user that it sets."""
    below, *instructions = stages()[stage]
    folder.mkdir(exist_ok=True)
    root = folder / stage
    variables, user = {}, "0"
    if below in stages():
        root, variables, user = make(below, context, base, folder)
    else:
        subprocess.run(["cp", "--archive", str(base), str(root)], check=True)
    for line in instructions:
        kind, _, rest = line.partition(" ")
        if kind == "COPY" and rest.startswith("--from="):
            source, place, target = rest.removeprefix("--from=").split()
            other = make(source, context, base, folder)[0]
            subprocess.run(["cp", "--archive", f"{other}{place}", f"{root}{target}"], check=True)
        elif kind == "COPY":
            shutil.copytree(context, root / rest.split()[1][1:])
        elif kind == "RUN":
            shell = ["chroot", str(root), "/bin/sh", "-c", f"cd {variables.get('PWD', '/')} && {rest}"]
            subprocess.run(shell, env={**ENVIRONMENT, **variables}, check=True)
        elif kind == "ENV":
            variables |= dict(each.split("=") for each in rest.split())
        elif kind == "USER":
            user = rest.partition(":")[0]
        elif kind == "WORKDIR":
            variables["PWD"] = rest
        else:
            assert kind in {"VOLUME", "ENTRYPOINT", "CMD", "EXPOSE"}, line
    return root, variables, user


def words_of(kind: str) -> list[str]:
    """The JSON list of an instruction of the last stage."""
    line = next(each for each in stages()[LAST] if each.startswith(kind))
    words: list[str] = json.loads(line.removeprefix(kind))
    return words


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Role]:
    role = coordinator(tmp_path / "coordinator")
    role.run("init", "--name", "Layers", "--first-port", str(free_ports(5)))
    role.start()
    yield role
    role.stop()


def test_a_site_joins_trains_and_runs_from_the_images_layers(
    release: Path, head: Role, tmp_path: Path
) -> None:
    with tarfile.open(release / f"mammofed-site-{build.version()}.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    context = tmp_path / f"mammofed-site-{build.version()}"
    root, variables, user = make(LAST, context, bare_debian(tmp_path), tmp_path / "layers-of")
    data, images = tmp_path / "data", tmp_path / "images"
    data.mkdir(0o700)
    list(
        write_hospital(
            images, vendor=HOLOGIC, patients=12, seed=1, density_mix={"b": 0.5, "c": 0.5}, spacing_mm=0.25
        )
    )
    contained = [
        *(
            "bwrap",
            "--ro-bind",
            str(root),
            "/",
            "--bind",
            str(data),
            "/data",
            "--tmpfs",
            "/tmp",
            "--proc",
            "/proc",
        ),
        *("--dev", "/dev", "--ro-bind", str(images), "/srv", "--unshare-all", "--share-net", "--new-session"),
        *("--die-with-parent", "--uid", user, "--gid", user, "--cap-drop", "ALL", "--clearenv"),
        *(word for name, value in variables.items() for word in ("--setenv", name, value)),
    ]
    program = words_of("ENTRYPOINT")

    def run(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*contained, *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    # No code of the other role, no rights, nothing to write but the volume.
    assert user == USER
    assert not list((root / "opt" / "mammofed").rglob("server/service.py"))
    assert not (root / "opt/mammofed/bin/mammofed-coordinator").exists()
    assert "Read-only file system" in run("/bin/sh", "-c", "echo x > /opt/mammofed/x", check=False)
    assert run("/bin/sh", "-c", "id -u; grep CapEff /proc/self/status").split() == [USER, "CapEff:", "0" * 16]

    run(*program, "join", head.ask("site", "invite", "layers")["token"])
    run(*program, "data", "add", "/srv")
    service = subprocess.Popen([*contained, *program, *words_of("CMD")], stdout=subprocess.DEVNULL)
    try:
        assert "training step: loss" in run(*program, "check")
        wait_until(lambda: "waiting" in run(*program, "status"), 60, "contact with the coordinator")
    finally:
        with contextlib.suppress(ProcessLookupError):
            service.terminate()
        service.wait(30)
