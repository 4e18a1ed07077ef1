"""The checks before a site starts, on a home whose coordinator really listens."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.catalog import Catalog
from client.home import SiteHome
from client.preflight import Check, run_checks
from client.workplace import Workplace
from shared.errors import HomeError
from shared.transfer.rpc import listen, new_server
from shared.trust.issuing import Issuer, new_root, new_server_certificate, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import enrolment_server_credentials
from tests.unit.client.participation.conftest import SITE_ID, MinimalCoordinator, add_example

NAMES = [
    "membership",
    "certificate",
    "fleet port",
    "transfer port",
    "standing",
    "clock",
    "version",
    "disk",
    "device",
    "data",
    "policy",
    "training step",
]


def checks_of(home: SiteHome) -> dict[str, Check]:
    checks = list(run_checks(home))
    assert [check.name for check in checks] == NAMES
    return {check.name: check for check in checks}


def failed(home: SiteHome) -> list[str]:
    checks = checks_of(home)
    for check in checks.values():
        assert check.finding
        assert check.passed or check.remedy
    return [name for name, check in checks.items() if not check.passed]


def test_a_home_that_is_ready_passes_every_check_with_a_real_training_step(
    workplace: Workplace, home: SiteHome
) -> None:
    checks = checks_of(home)

    assert [check.name for check in checks.values() if not check.passed] == []
    assert "loss" in checks["training step"].finding
    assert "6 examples of 6 patients" in checks["data"].finding


def test_a_home_that_has_not_joined_has_nothing_to_check(home: SiteHome) -> None:
    with pytest.raises(HomeError):
        next(run_checks(home))


def test_a_home_without_data_fails_three_checks_and_says_what_to_do(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    assert failed(home) == ["data", "policy", "training step"]
    assert "data add" in checks_of(home)["data"].remedy


def test_a_single_training_example_is_not_enough(coordinator: MinimalCoordinator, home: SiteHome) -> None:
    home.settings_file.write_text('device = "cpu"\n')
    with Catalog.open(home.folder) as catalog:
        add_example(catalog, patient="patient-0", seed=0)

    assert failed(home) == ["data", "policy"]


def test_a_policy_with_a_wrong_line_is_told(workplace: Workplace, home: SiteHome) -> None:
    home.policy_file.write_text("[limits]\nrounds = 0\n")

    assert failed(home) == ["policy"]
    assert "line 2" in checks_of(home)["policy"].finding


def test_a_coordinator_that_does_not_listen_is_told_for_each_port(
    workplace: Workplace, coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    coordinator.server.stop(None).wait(10)

    assert failed(home) == ["fleet port", "transfer port", "standing", "clock", "version"]
    remedy = checks_of(home)["transfer port"].remedy
    assert "allow outbound TCP from 127.0.0.1 to 127.0.0.1 port" in remedy
    assert str(coordinator.port) in remedy


@pytest.mark.parametrize("days_old", [31, 900])
def test_a_certificate_past_its_end_is_told(
    days_old: int, workplace: Workplace, coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    certificate_pem = new_site_certificate(
        csr_pem=new_csr(TlsKey.load(home.tls_key_file)),
        site_id=SITE_ID,
        issuer=Issuer(certificate_pem=coordinator.root_pem, key=coordinator.root_key),
        now=time.time() - days_old * 86_400,
    )
    home.write_membership(replace(home.membership(), certificate_pem=certificate_pem))

    assert failed(home) == ["certificate", "standing", "clock", "version"]


@pytest.fixture
def firewall(workplace: Workplace, home: SiteHome) -> Iterator[int]:
    """A listener that answers in the coordinator's place with a certificate of a root of its own."""
    root_key, key, now = TlsKey.generate(), TlsKey.generate(), time.time()
    root_pem = new_root(federation_name="Inspecting Firewall", key=root_key, now=now)
    chain_pem = new_server_certificate(
        hosts=["127.0.0.1"],
        key=key,
        root_pem=root_pem,
        issuer=Issuer(certificate_pem=root_pem, key=root_key),
        now=now,
    )
    server = new_server(num_threads=2)
    yield listen(server, "127.0.0.1", 0, enrolment_server_credentials(chain_pem=chain_pem, key=key))
    server.stop(None).wait(10)


def test_a_firewall_that_inspects_tls_is_told_by_its_name(firewall: int, home: SiteHome) -> None:
    home.write_membership(replace(home.membership(), fleet_address=f"127.0.0.1:{firewall}"))

    assert failed(home) == ["fleet port"]
    check = checks_of(home)["fleet port"]
    assert "'Inspecting Firewall' issued the certificate" in check.finding
    assert "exempt this host and port from TLS inspection" in check.remedy


def test_a_name_that_no_dns_knows_is_told(workplace: Workplace, home: SiteHome) -> None:
    home.write_membership(replace(home.membership(), fleet_address="coordinator.invalid:8443"))

    assert failed(home) == ["fleet port"]
    check = checks_of(home)["fleet port"]
    assert check.finding == "The name of coordinator.invalid:8443 is not known here."
    assert "resolve coordinator.invalid" in check.remedy


def test_a_gpu_that_torch_cannot_use_is_told(
    workplace: Workplace, home: SiteHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr("client.preflight.NVIDIA_GPUS", tmp_path / "gpus")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    home.settings_file.write_text('device = "auto"\n')

    assert failed(home) == ["device"]
    assert "build with CUDA" in checks_of(home)["device"].remedy


def test_a_proxy_that_is_not_there_is_told_with_what_it_must_let_through(
    workplace: Workplace, home: SiteHome
) -> None:
    home.settings_file.write_text('device = "cpu"\n[proxy]\nurl = "http://127.0.0.1:9"\n')
    home.write_membership(replace(home.membership(), fleet_address="192.0.2.1:443"))

    assert failed(home) == ["fleet port"]
    check = checks_of(home)["fleet port"]
    assert check.finding == "192.0.2.1:443 does not answer (by the proxy 127.0.0.1:9)"
    assert (
        "let 127.0.0.1 connect out to TCP 127.0.0.1:9, and that proxy CONNECT to 192.0.2.1:443"
        in check.remedy
    )


def test_a_certificate_that_the_running_site_will_renew_is_no_failure(
    workplace: Workplace, coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    certificate_pem = new_site_certificate(
        csr_pem=new_csr(TlsKey.load(home.tls_key_file)),
        site_id=SITE_ID,
        issuer=Issuer(certificate_pem=coordinator.root_pem, key=coordinator.root_key),
        now=time.time() - 29 * 86_400,
    )
    home.write_membership(replace(home.membership(), certificate_pem=certificate_pem))

    assert failed(home) == []


def test_a_site_that_was_revoked_is_told_so_by_its_check(
    workplace: Workplace, coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    coordinator.has_revoked = True

    assert failed(home) == ["standing", "clock", "version"]
    assert checks_of(home)["standing"].finding == "This site was revoked by the coordinator."


def test_a_clock_that_flower_would_refuse_is_told_by_how_much(
    workplace: Workplace, coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    coordinator.clock = lambda: time.time() - 20

    assert failed(home) == ["clock"]
    assert "20 seconds ahead" in checks_of(home)["clock"].finding


@pytest.mark.parametrize(
    ("installed", "is_well", "words"),
    [
        ("0.4.2", True, "same minor version"),
        ("0.5.0", True, "one minor version apart: they work together"),
        ("0.6.0", False, "more than one minor version apart"),
    ],
)
def test_the_coordinators_version_is_told_and_how_it_fits(
    installed: str,
    is_well: bool,
    words: str,
    workplace: Workplace,
    coordinator: MinimalCoordinator,
    home: SiteHome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.standing.version", lambda _name: installed)
    coordinator.software_version = "0.4.0"

    assert failed(home) == ([] if is_well else ["version"])
    assert f"this site {installed}, the coordinator 0.4.0: {words}" in checks_of(home)["version"].finding


def test_a_disk_that_is_nearly_full_is_told(
    workplace: Workplace, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10 << 30, 9 << 30, 1 << 30))

    assert failed(home) == ["disk"]


def test_damaged_examples_fail_the_training_step_and_nothing_else(
    workplace: Workplace, home: SiteHome
) -> None:
    for file in (home.folder / "examples").glob("*.shard"):
        file.write_bytes(b"damaged")

    assert failed(home) == ["training step"]


def test_a_device_that_is_not_there_is_told(
    workplace: Workplace, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    home.settings_file.write_text('device = "cuda"\n')

    assert failed(home) == ["device", "training step"]
