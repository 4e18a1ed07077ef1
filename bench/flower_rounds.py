"""Rounds of stock Flower: SuperLink and two SuperNodes over TLS, FedAvg without evaluation.

Quickened, they show what is left of its time when only the way of the arrays remains: pauses as short as this
product's, and a warm process at each site instead of a new one for every message.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from bench.measured_rounds import NUM_SITES, NUM_TENSORS, Rounds, read_computed, read_stamps, rounds_of
from bench.processes import Watch
from deploy.demo.federation import CommandError, free_ports, wait_until
from shared.flower.environment import flower_environment
from shared.trust.issuing import Issuer, new_root, new_server_certificate
from shared.trust.keys import TlsKey

PROCESSES = {
    "flower-superlink": "SuperLink",
    "flwr-serverapp": "ServerApp",
    "flower-supernode": "SuperNode",
    "bench.quick_node": "SuperNode",
    "flwr-clientapp": "ClientApp",
    "bench.quick_executor": "executor",
}
APP = Path(__file__).with_name("flower_app")
HOST = "127.0.0.1"
STARTUP_S = 60.0
ENDING_S = 2.0
"""Flower's processes of a run end by themselves; until then their memory is sampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where stock Flower runs: a folder with certificates, and the address of its SuperLink."""

    folder: Path
    port: int
    environment: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def write_certificates(self) -> None:
        root_key, key, now = TlsKey.generate(), TlsKey.generate(), time.time()
        root = new_root(federation_name="Bench", key=root_key, now=now)
        chain = new_server_certificate(
            hosts=[HOST], key=key, root_pem=root, issuer=Issuer(certificate_pem=root, key=root_key), now=now
        )
        self.root.write_bytes(root)
        (self.folder / "chain.pem").write_bytes(chain)
        key.save(self.folder / "key.pem")

    def start(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program here with a home of its own, which knows the SuperLink as `bench`."""
        home = self.folder / name
        home.mkdir()
        connection = {"address": self.address, "root-certificates": str(self.root)}
        (home / "config.toml").write_text(
            tomli_w.dumps({"superlink": {"default": "bench", "bench": connection}})
        )
        programs = Path(sys.executable).parent
        environment = {
            **os.environ,
            **flower_environment(home),
            **self.environment,
            "PYTHONSAFEPATH": "",
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [str(programs / program), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )

    def start_all(self, *, quick: bool) -> None:
        """SuperLink, then the nodes."""
        secured = ["--ssl-certfile", str(self.folder / "chain.pem")]
        secured += ["--ssl-keyfile", str(self.folder / "key.pem"), "--ssl-ca-certfile", str(self.root)]
        self.start("superlink", "flower-superlink", *secured, "--host", HOST, "--port", str(self.port))
        wait_until(lambda: _listens(self.port), STARTUP_S, "Flower's SuperLink")
        for number in range(1, NUM_SITES + 1):
            known = ["--root-certificates", str(self.root), "--superlink", self.address]
            own = ["--host", HOST, "--port", str(self.port + number)]
            if quick:
                self._start_quick_node(number, [*known, *own])
            else:
                self.start(f"node-{number}", "flower-supernode", *known, *own)

    def _start_quick_node(self, number: int, options: Sequence[str]) -> None:
        secret = self.folder / f"secret-{number}"
        secret.write_text(secrets.token_hex(32))
        options = [*options, "--isolation", "process", "--superexec-auth-secret-file", str(secret)]
        self.start(f"node-{number}", "python", "-m", "bench.quick_node", *options)
        task = [f"{HOST}:{self.port + number}", str(secret), str(APP)]
        self.start(f"executor-{number}", "python", "-m", "bench.quick_executor", *task)


def measure(
    folder: Path, model_bytes: int, *, num_rounds: int, timeout_s: float, quick: bool = False
) -> Rounds:
    """Start everything below a folder and carry one run through its rounds."""
    shutil.copytree(APP, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    with Watch(PROCESSES) as watch:
        place = _Place(folder=folder, port=free_ports(1 + NUM_SITES), environment=watch.environment)
        place.write_certificates()
        place.start_all(quick=quick)
        settings = f'num-server-rounds={num_rounds} values={model_bytes // 4} folder="{folder}"'
        settings += f" quick={str(quick).lower()}"
        if place.start("run", "flwr", "run", "app", "bench", "--run-config", settings).wait(STARTUP_S):
            raise CommandError((folder / "run.log").read_text())
        patience_s = STARTUP_S + num_rounds * timeout_s
        wait_until(lambda: len(read_stamps(folder)) > num_rounds, patience_s, "the rounds of stock Flower")
        time.sleep(ENDING_S)
        stamps = read_stamps(folder)
        return rounds_of(
            "Flower objects" if quick else "Flower",
            model_bytes=model_bytes // 4 // NUM_TENSORS * NUM_TENSORS * 4,
            stamps=stamps,
            computed=read_computed(folder, num_rounds=num_rounds),
            wire_bytes=watch.bytes_between(stamps[0], stamps[-1]),
            peak_bytes=watch.peaks,
        )


def _listens(port: int) -> bool:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(int(row[1].rpartition(":")[2], 16) == port and row[3] == "0A" for row in rows)
