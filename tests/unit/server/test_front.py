"""One port for all three services: what sites are told, what the certificate names, what nginx reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.coordinator import identity_of
from server.founding import found
from server.front import FrontSettings
from server.home import CoordinatorHome, CoordinatorSettings
from server.issuing import renew_server_certificate
from server.monitoring.settings import AlertSettings, MetricsSettings, TracesSettings, WebhookSettings
from server.network import firewall_matrix
from server.single_sign_on import SingleSignOnSettings
from shared.enrolment.token import InvitationToken
from shared.errors import ConfigError
from shared.tables import read_table
from shared.trust.server_certificate import names_host

NAMES = ("fleet.example.org", "enrol.example.org", "transfer.example.org")
FRONT = """
[front]
fleet = "fleet.example.org"
enrolment = "enrol.example.org"
transfer = "transfer.example.org"
"""
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    """A founded coordinator to whose settings the front was added."""
    home = CoordinatorHome(tmp_path / "coordinator")
    found(home, CoordinatorSettings(name="Front"), now=time.time(), actor="test")
    home.settings_file.write_text(home.settings_file.read_text() + FRONT)
    return home


def ask(home: CoordinatorHome, *arguments: str) -> object:
    done = CliRunner().invoke(app, [*arguments, "--home", str(home.folder), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_sites_are_told_the_names_at_one_port(home: CoordinatorHome) -> None:
    identity = identity_of(home)
    invited = ask(home, "site", "invite", "aarhus")

    token = InvitationToken.parse(invited["token"])  # type: ignore[index]
    assert identity.fleet_address == "fleet.example.org:443"
    assert identity.transfer_address == "transfer.example.org:443"
    assert (token.host, token.port) == ("enrol.example.org", 443)


def test_the_next_start_has_a_certificate_that_carries_the_names(home: CoordinatorHome) -> None:
    assert not any(names_host(home.tls_chain_file.read_bytes(), name) for name in NAMES)

    assert renew_server_certificate(home, now=time.time())

    assert all(names_host(home.tls_chain_file.read_bytes(), name) for name in NAMES)


@pytest.mark.parametrize(
    "front",
    [
        'fleet = "a.example"\nenrolment = "A.example"\ntransfer = "b.example"',
        'fleet = "a.example; include /etc/passwd"\nenrolment = "b.example"\ntransfer = "c.example"',
        'fleet = ""\nenrolment = "b.example"\ntransfer = "c.example"',
        'fleet = "a.example"\nenrolment = "b.example"',
        'port = 0\nfleet = "a.example"\nenrolment = "b.example"\ntransfer = "c.example"',
    ],
)
def test_names_that_cannot_tell_services_apart_or_are_none_are_refused(front: str) -> None:
    with pytest.raises(ConfigError):
        read_table(FrontSettings, front, what="coordinator.toml", error=ConfigError)


def test_the_matrix_follows_the_settings(home: CoordinatorHome) -> None:
    plain = [
        (each.destination, each.port) for each in firewall_matrix(CoordinatorSettings(name="x", host="h"))
    ]
    behind = [(each.source, each.destination, each.port) for each in firewall_matrix(home.settings())]
    with_console = [
        [
            each.port
            for each in firewall_matrix(CoordinatorSettings(name="x", console_port=9, console_listen=to))
        ]
        for to in ("127.0.0.1", "0.0.0.0")
    ]

    figures = {"port": 9480, "listen": "192.0.2.10", "client_ca_file": "ca.crt"}
    with_metrics = [
        [each.port for each in firewall_matrix(CoordinatorSettings(name="x", metrics=metrics))][3:]
        for metrics in (MetricsSettings(port=9480), MetricsSettings(**figures))
    ]

    assert with_metrics == [[], ["9480"]]
    assert with_console == [["8443", "8444", "8445"], ["8443", "8444", "8445", "9"]]
    assert plain == [("h", "8443"), ("h", "8444"), ("h", "8445")]
    assert behind == [
        *(("the sites", name, "443") for name in NAMES),
        *(("the front", "127.0.0.1", port) for port in ("8443", "8444", "8445")),
    ]


def test_without_names_there_is_nothing_to_print_for_nginx(tmp_path: Path) -> None:
    home = CoordinatorHome(tmp_path / "coordinator")
    found(home, CoordinatorSettings(name="Front"), now=time.time(), actor="test")

    done = CliRunner().invoke(app, ["network", "--nginx", "--home", str(home.folder)])

    assert isinstance(done.exception, ConfigError)


@pytest.mark.skipif(
    shutil.which("nginx") is None or not MODULE.exists(),
    reason="nginx with its stream module is not installed",
)
def test_nginx_reads_what_is_printed(home: CoordinatorHome, tmp_path: Path) -> None:
    block = ask(home, "network", "--nginx")["nginx"]  # type: ignore[index]
    config = tmp_path / "nginx.conf"
    config.write_text(f"load_module {MODULE};\npid {tmp_path / 'pid'};\nevents {{}}\n{block}")

    done = subprocess.run(
        ["nginx", "-t", "-q", "-c", str(config), "-p", str(tmp_path), "-e", str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "ssl_preread on;" in block
    assert "ssl_certificate" not in block


def test_the_sheet_for_it_tells_of_the_front_and_of_the_backup(home: CoordinatorHome, tmp_path: Path) -> None:
    told = ask(home, "it-sheet", str(tmp_path / "sheet.html"))

    text = (tmp_path / "sheet.html").read_text()
    assert len(told["rules"]) == 6  # type: ignore[index]
    assert "one port by server names (SNI)" in text
    assert "mammofed-coordinator backup" in text
    assert str(home.folder) not in text


def test_the_matrix_names_everybody_whom_the_settings_let_the_coordinator_ask_or_tell() -> None:
    settings = CoordinatorSettings(
        name="x",
        alerts=AlertSettings(webhook=WebhookSettings(url="https://hooks.example/x", secret_file="key")),
        single_sign_on=SingleSignOnSettings(issuer="https://login.example/realm", client_id="mammofed"),
        traces=TracesSettings(endpoint="https://collector.example:4318/v1/traces"),
    )

    outgoing = [each for each in firewall_matrix(settings) if each.source == "the coordinator"]

    assert [(each.destination, each.port) for each in outgoing] == [
        ("hooks.example", "443"),
        ("login.example", "443"),
        ("collector.example", "4318"),
    ]
