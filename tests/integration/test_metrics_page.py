"""Figures for Prometheus: what the page says, and to whom."""

from __future__ import annotations

import json
import re
import ssl
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from client.metrics import metrics_of as of_site
from client.status import Clinic, State, Status
from client.store.ledger import LedgerTotals
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.monitoring.facts import Certificate, Facts, RunFacts, SiteFacts
from server.monitoring.metrics import metrics_of, tally_of
from server.monitoring.settings import MetricsSettings
from shared.errors import ConfigError
from shared.metrics import Metric, MutualTls, figure, metrics_page
from shared.tables import read_table
from tests.integration.alert_receivers import Authority

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
NOW = 1_000_000_000.0
FACTS = Facts(
    sites=[
        SiteFacts(site_id="site-a", name="north", silent_since=None, is_paused=False),
        SiteFacts(site_id="site-b", name="lake", silent_since=NOW - 9, is_paused=False),
    ],
    is_contact_known=True,
    certificates=[Certificate(whose="north", begins_at=NOW, ends_at=NOW + 86_400)],
    runs=[
        RunFacts(
            run_id="run-1",
            name="density",
            num_rounds=20,
            num_aggregated=3,
            quorum=2,
            approved=frozenset({"site-a", "site-b"}),
            values=[(1, 0.5), (2, 0.75)],
        )
    ],
    failed_runs=[],
    failed_attempts=[],
    rejected=[],
    free_bytes=5 << 30,
)
STATUS = Status(
    at=NOW,
    state=State.WAITING,
    software_version="0.1.0",
    site_name="north",
    site_id="site-a",
    coordinator_name="Density study",
    last_contact_at=NOW - 2,
    troubles=(),
    certificate_ends_at=NOW + 86_400,
    work=None,
    waiting_plans=1,
    approved_plans=0,
    gpus=(),
    disk_free_bytes=5 << 30,
    disk_total_bytes=9 << 30,
    ledger=LedgerTotals(messages=4, size_bytes=1_000, last_at=NOW),
    clinic=Clinic(is_running=True, num_images=3, num_objects=9, waiting_since=NOW - 60),
)


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    home = CoordinatorHome(tmp_path / "home")
    found(home, CoordinatorSettings(name="Density study"), now=time.time(), actor="test")
    return Coordinator.open(home)


def shown(metrics: list[Metric]) -> list[str]:
    """Lines of the page that are no comments."""
    with metrics_page(lambda: metrics, listen="127.0.0.1", port=0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert answer.status_code == 200
    return [line for line in answer.text.splitlines() if not line.startswith("#")]


def all_metrics(coordinator: Coordinator) -> list[Metric]:
    tally = tally_of(coordinator, channels=["mail"])
    return [*metrics_of(FACTS, tally, measure="dice_dense", now=NOW), *of_site(STATUS)]


def test_the_page_shows_sites_runs_rounds_and_the_measure_over_all_sites(coordinator: Coordinator) -> None:
    lines = shown(all_metrics(coordinator))

    for line in (
        'mammofed_coordinator_site_online{site="north"} 1.0',
        'mammofed_coordinator_site_online{site="lake"} 0.0',
        'mammofed_coordinator_run_rounds_aggregated{run="density",run_id="run-1"} 3.0',
        'mammofed_coordinator_run_sites_ready{run="density",run_id="run-1"} 1.0',
        'mammofed_coordinator_run_measure{measure="dice_dense",run="density",run_id="run-1"} 0.75',
        'mammofed_coordinator_attempts_total{state="void"} 0.0',
        'mammofed_coordinator_alerts_open{rule="disk-low"} 0.0',
        'mammofed_coordinator_notices_unsent{channel="mail"} 0.0',
        'mammofed_site_plans{state="waiting"} 1.0',
        "mammofed_site_sent_messages_total 4.0",
        'mammofed_site_state{state="waiting"} 1.0',
    ):
        assert line in lines


def test_no_figure_counts_images_examples_or_patients(coordinator: Coordinator) -> None:
    for metric in all_metrics(coordinator):
        told = f"{metric.name} {[sorted(labels) for labels, _ in metric.values]}"
        assert not re.search("example|image|patient|mask|case", told)


def test_every_figure_that_a_dashboard_or_a_rule_asks_for_is_shown(coordinator: Coordinator) -> None:
    known = {metric.name for metric in all_metrics(coordinator)} | {
        "mammofed_site_gpu_busy_ratio",
        "mammofed_site_gpu_memory_used_bytes",
    }
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += re.findall(
        r"expr: (?:>-)?\s*(.*(?:\n {10}.*)*)", (MONITORING / "mammofed.rules.yml").read_text()
    )
    named = set(re.findall(r"mammofed_\w+", " ".join(asked)))

    assert len(named) > 20
    assert named <= known


def test_who_is_in_touch_is_not_told_while_nobody_knows(coordinator: Coordinator) -> None:
    facts = replace(FACTS, is_contact_known=False)
    lines = shown(metrics_of(facts, tally_of(coordinator, channels=[]), measure="dice_dense", now=NOW))

    assert not any("site_online" in line or "sites_ready" in line for line in lines)


def test_a_foreign_name_that_is_pointed_here_and_another_path_get_nothing() -> None:
    one = [figure("mammofed_test", "Test.", 1)]
    with metrics_page(lambda: one, listen="127.0.0.1", port=0) as port:
        address = f"http://127.0.0.1:{port}"
        rebound = httpx.get(f"{address}/metrics", headers={"host": f"evil.example:{port}"}, trust_env=False)
        elsewhere = httpx.get(f"{address}/", trust_env=False)
        changing = httpx.post(f"{address}/metrics", trust_env=False)

    assert "mammofed_test" not in rebound.text + elsewhere.text + changing.text
    assert (rebound.status_code, elsewhere.status_code, changing.status_code) == (400, 404, 405)


def test_beyond_loopback_a_stranger_without_a_certificate_is_shown_nothing(tmp_path: Path) -> None:
    ours, theirs = Authority.make(tmp_path / "ours"), Authority.make(tmp_path / "theirs")
    tls = MutualTls(key_file=ours.key_file, chain_file=ours.chain_file, client_ca_file=ours.root_file)

    def ask(port: int, client: Authority | None, highest: ssl.TLSVersion) -> str:
        context = ssl.create_default_context(cafile=str(ours.root_file))
        context.maximum_version = highest
        if client is not None:
            context.load_cert_chain(client.client_file, client.key_file)
        return httpx.get(f"https://localhost:{port}/metrics", verify=context, trust_env=False).text

    one = [figure("mammofed_test", "Test.", 1)]
    with metrics_page(lambda: one, listen="127.0.0.1", port=0, tls=tls) as port:
        for client, highest in (
            (None, ssl.TLSVersion.TLSv1_3),
            (theirs, ssl.TLSVersion.TLSv1_3),
            (ours, ssl.TLSVersion.TLSv1_2),
        ):
            with pytest.raises(httpx.HTTPError):
                ask(port, client, highest)
        assert "mammofed_test 1.0" in ask(port, ours, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[metrics]\nport = 9480\nlisten = "0.0.0.0"', "need client_ca_file"),
        ("[metrics]\nport = 0", "metrics.port"),
        ("[metrics]\nprot = 9480", "unknown setting 'metrics.prot'"),
    ],
)
def test_metrics_listen_beyond_loopback_only_with_an_authority_of_clients(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_table(CoordinatorSettings, f'name = "Test"\n{text}', what="coordinator.toml", error=ConfigError)

    assert message in refused.value.message


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with (
        metrics_page(lambda: [], listen="127.0.0.1", port=0) as port,
        pytest.raises(ConfigError, match="not free"),
        metrics_page(lambda: [], listen="127.0.0.1", port=port),
    ):
        pass


def test_without_a_table_there_is_no_page() -> None:
    assert CoordinatorSettings(name="Test").metrics is None
    assert MetricsSettings(port=9480).listen == "127.0.0.1"
