"""Debian's Prometheus with our rules: it scrapes both sides as they run, and promtool finds no fault."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo.federation import coordinator, free_ports, site, stopped_at_end, wait_until

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
PATIENCE_S = 120

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian's package `prometheus`)",
)


def test_promtool_finds_no_fault_in_the_rules_and_they_raise_what_they_say() -> None:
    for arguments in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "mammofed.rules.yml"),
        ("test", "rules", "mammofed.rules.test.yml"),
    ):
        done = subprocess.run(
            ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """One that runs with our own configuration, but for its ports and its haste."""

    def __init__(self, folder: Path, *, coordinator_port: int, site_port: int) -> None:
        self.address = f"127.0.0.1:{free_ports(1)}"
        folder.mkdir()
        shutil.copy(MONITORING / "mammofed.rules.yml", folder)
        text = (MONITORING / "prometheus.yml").read_text()
        for old, new in (
            ("15s", "1s"),
            ("127.0.0.1:9480", f"127.0.0.1:{coordinator_port}"),
            ("127.0.0.1:9481", f"127.0.0.1:{site_port}"),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text)
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self.address}",
            ],
            stderr=subprocess.DEVNULL,
        )

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of what it has; nothing while it does not answer or is not ready."""
        try:
            response = httpx.get(
                f"http://{self.address}/api/v1/query", params={"query": query}, trust_env=False
            )
        except httpx.TransportError:
            return []
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return []
        answer: Any = response.json()
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Beside a coordinator and a site that has joined it, both running."""
    port = free_ports(7)
    ours, theirs = coordinator(tmp_path / "coordinator"), site(tmp_path / "site")
    ours.run("init", "--name", "Density study", "--first-port", str(port))
    with (ours.home / "coordinator.toml").open("a") as settings:
        settings.write(f"\n[metrics]\nport = {port + 5}\n")
    with stopped_at_end(ours, theirs):
        ours.start()
        token = ours.ask("site", "invite", "north")["token"]
        theirs.run("join", token)
        (theirs.home / "site.toml").write_text(f"[metrics]\nport = {port + 6}\n")
        theirs.start()
        scraper = Prometheus(tmp_path / "prometheus", coordinator_port=port + 5, site_port=port + 6)
        try:
            yield scraper
        finally:
            scraper.stop()


@pytest.mark.slow
def test_prometheus_scrapes_a_coordinator_and_a_site_that_run(prometheus: Prometheus) -> None:
    def is_seen() -> bool:
        online = prometheus.ask('mammofed_coordinator_site_online{site="north"} == 1')
        waiting = prometheus.ask('mammofed_site_state{state="waiting"} == 1')
        return bool(online and waiting)

    wait_until(is_seen, PATIENCE_S, "a site in touch, as both sides tell it")
    assert sorted(value for _, value in prometheus.ask("up")) == [1, 1]
    ((labels, _),) = prometheus.ask("mammofed_coordinator_info")
    assert labels["federation"] == "Density study"
    assert {
        labels["of"] for labels, _ in prometheus.ask("mammofed_coordinator_certificate_end_timestamp_seconds")
    } == {
        "the federation's root",
        "the listeners",
        "north",
    }
    assert prometheus.ask('ALERTS{alertstate="firing"}') == []
