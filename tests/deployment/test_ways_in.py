"""A run through what hospitals and hosts put in between: an outbound proxy with a password, and one port 443.

Two namespaces with one line between them. Outside are the coordinator, nginx before it, the proxy, and one
hospital. Inside is the other hospital: it knows no name and has no route but to the proxy.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.federation import CommandError, Role, coordinator, site, wait_until
from tests.e2e.isolation import why_not
from tests.e2e.small_federation import (
    SmallFederation,
    bring_in,
    in_parallel,
    processes_of,
    shared_hospitals,
)

MISSING = [name for name in ("nginx", "tinyproxy") if shutil.which(name) is None]
OBSTACLE = why_not() or (f"not installed: {', '.join(MISSING)}" if MISSING else None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.netns,
    pytest.mark.timeout(600),
    pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)),
]

USER, PASSWORD = "hospital", "p4ss-w0rd.Zq7"
PROXY_PORT, FRONT_PORT = 3128, 443
NAMES = {"fleet": "fleet.example.org", "enrolment": "enrol.example.org", "transfer": "transfer.example.org"}
INSIDE, OUTSIDE = "hospital-north", "hospital-lake"
FRONT = "\n[front]\n" + "".join(f'{service} = "{name}"\n' for service, name in NAMES.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The two namespaces.

    Attributes
    ----------
    proxy
        Address outside that is reached from inside.
    front
        Address outside that is not.
    """

    inside: str
    outside: str
    proxy: str
    front: str


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)


@contextlib.contextmanager
def two_places() -> Iterator[Places]:
    tag, subnet = secrets.token_hex(3), f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
    places = Places(
        inside=f"mammofed-{tag}i", outside=f"mammofed-{tag}o", proxy=f"{subnet}.1", front=f"{subnet}.129"
    )
    hosts = Path("/etc/netns") / places.outside
    try:
        for name in (places.inside, places.outside):
            ip("netns", "add", name)
            ip("-netns", name, "link", "set", "lo", "up")
        ends = (f"mf{tag}o", places.outside), (f"mf{tag}i", places.inside)
        ip(
            "link",
            "add",
            ends[0][0],
            "netns",
            ends[0][1],
            "type",
            "veth",
            "peer",
            "name",
            ends[1][0],
            "netns",
            ends[1][1],
        )
        for (device, name), address in zip(ends, (f"{places.proxy}/30", f"{subnet}.2/30"), strict=True):
            ip("-netns", name, "address", "add", address, "dev", device)
            ip("-netns", name, "link", "set", device, "up")
        ip("-netns", places.outside, "address", "add", f"{places.front}/32", "dev", "lo")
        hosts.mkdir(parents=True)
        (hosts / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{places.front} {name}\n" for name in NAMES.values())
        )
        yield places
    finally:
        shutil.rmtree(hosts, ignore_errors=True)
        for name in (places.inside, places.outside):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextlib.contextmanager
def program(places: Places, *line: str) -> Iterator[None]:
    """A program that runs outside until the block is left."""
    process = subprocess.Popen(["ip", "netns", "exec", places.outside, *line])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def proxy_and_front(places: Places, head: Role, folder: Path) -> Iterator[Path]:
    """The proxy, and nginx with the configuration that the coordinator prints; yields the proxy's log."""
    log = folder / "proxy.log"
    (folder / "proxy.conf").write_text(
        f"Port {PROXY_PORT}\nListen {places.proxy}\nTimeout 600\nMaxClients 100\nConnectPort {FRONT_PORT}\n"
        f"BasicAuth {USER} {PASSWORD}\n"
        f'LogLevel Connect\nLogFile "{log}"\nPidFile "{folder / "proxy.pid"}"\n'
    )
    block = head.ask("network", "--nginx")["nginx"]
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    (folder / "nginx.conf").write_text(
        f"load_module {module};\ndaemon off;\npid {folder / 'nginx.pid'};\n"
        f"error_log {folder / 'nginx.log'};\nevents {{}}\n{block}"
    )
    with (
        program(places, "tinyproxy", "-d", "-c", str(folder / "proxy.conf")),
        program(places, "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)),
    ):
        wait_until(log.exists, 10, "the proxy")
        yield log


def prefix(namespace: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace)


@pytest.fixture
def federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> Iterator[tuple[SmallFederation, Path]]:
    """A coordinator behind nginx, one hospital that reaches it straight and one by the proxy; and its log."""
    hospitals = [
        each for each in shared_hospitals(request.config, tmp_path_factory) if each.name in {INSIDE, OUTSIDE}
    ]
    with two_places() as places:
        head = coordinator(tmp_path / "coordinator", prefix=prefix(places.outside))
        federation = SmallFederation(
            folder=tmp_path,
            first_port=8443,
            coordinator=head,
            sites={
                INSIDE: site(tmp_path / "inside", prefix=prefix(places.inside)),
                OUTSIDE: site(tmp_path / "outside", prefix=prefix(places.outside)),
            },
            hospitals=hospitals,
        )
        head.run("init", "--name", "Ways In")
        settings = head.home / "coordinator.toml"
        settings.write_text(settings.read_text() + FRONT)
        inside = federation.sites[INSIDE].home
        inside.mkdir()
        (inside / "proxy.secret").touch(0o600)
        (inside / "proxy.secret").write_text(f"{USER}:{PASSWORD}\n")
        (inside / "site.toml").write_text(
            f'[proxy]\nurl = "http://{places.proxy}:{PROXY_PORT}"\ncredentials_file = "proxy.secret"\n'
        )
        with proxy_and_front(places, head, tmp_path) as log:
            try:
                head.start()
                in_parallel([lambda each=each: bring_in(federation, each) for each in hospitals])
                yield federation, log
            finally:
                with contextlib.suppress(CommandError, subprocess.SubprocessError):
                    federation.stop_all()
                assert [processes_of(role.home) for role in federation.roles] == [[], [], []]


def test_a_run_goes_through_one_port_and_through_a_proxy_with_a_password(
    federation: tuple[SmallFederation, Path],
) -> None:
    whole, log = federation
    inside = whole.sites[INSIDE]

    run = whole.finish(whole.launch(whole.write_plan("ways-in", rounds=2)))

    assert run["state"] == "finished"
    assert [[part["state"] for part in each["parts"]] for each in run["rounds"]] == [["admitted"] * 2] * 2, (
        run
    )
    # Every service was reached by the proxy, at the one port, by its name.
    asked = log.read_text()
    assert {name for name in NAMES.values() if f"CONNECT {name}:{FRONT_PORT}" in asked} == set(NAMES.values())
    checks = {each["name"]: each for each in inside.ask("check")}
    assert all(each["passed"] for each in checks.values()), checks
    assert "by the proxy" in checks["fleet port"]["finding"]
    assert f"{NAMES['fleet']}:{FRONT_PORT}" in checks["fleet port"]["finding"]
    # The password is in its file alone.
    assert not [
        file
        for role in whole.roles
        for file in role.home.rglob("*")
        if file.is_file() and file.name != "proxy.secret" and PASSWORD.encode() in file.read_bytes()
    ]
    # With another one, the person learns of it.
    (inside.home / "proxy.secret").write_text(f"{USER}:wrong\n")
    with pytest.raises(CommandError):
        inside.run("check")
