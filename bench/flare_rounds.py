"""Rounds of NVIDIA FLARE: POC mode with TLS, FedAvg recipe, two clients, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.measured_rounds import NUM_SITES, Rounds, read_computed, rounds_of
from bench.processes import Watch
from deploy.demo.federation import CommandError

VERSION = "2.9.0"
ENVIRONMENT = Path("build") / "bench" / f"flare-{VERSION}"
STARTUP_S = 60.0
PROCESSES = {
    "fed.app.server.runner_process": "server job",
    "fed.app.server.server_train": "server",
    "fed.app.client.worker_process": "client job",
    "fed.app.client.client_train": "client",
    "flare_job.py": "job command",
}


def install() -> Path:
    """The Python of FLARE's environment, which is made where it is missing.

    Raises
    ------
    subprocess.SubprocessError
        It cannot be installed here.
    """
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        packages = [f"nvflare=={VERSION}", "numpy"]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, capture_output=True)
        done.touch()
    return python.absolute()


def measure(folder: Path, model_bytes: int, *, num_rounds: int, timeout_s: float) -> Rounds:
    """Carry one job through one round more than is measured: a round ends where the next begins."""
    python = install()
    job = [str(Path(__file__).with_name("flare_job.py")), "--folder", str(folder)]
    job += ["--values", str(model_bytes // 4), "--rounds", str(num_rounds + 1), "--sites", str(NUM_SITES)]
    with Watch(PROCESSES) as watch, (folder / "job.log").open("wb") as log:
        environment = {
            **os.environ,
            **watch.environment,
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
        }
        done = subprocess.run(
            [str(python), *job],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=STARTUP_S + (num_rounds + 2) * timeout_s,
            check=False,
            cwd=folder,
        )
        if done.returncode:
            raise CommandError((folder / "job.log").read_text())
        received = [
            [float(line) for line in file.read_text().splitlines()]
            for file in sorted(folder.glob("received-*"))
        ]
        stamps = [min(times) for times in zip(*received, strict=True)]
        return rounds_of(
            "FLARE",
            model_bytes=model_bytes,
            stamps=stamps,
            computed=read_computed(folder, num_rounds=num_rounds),
            wire_bytes=watch.bytes_between(stamps[0], stamps[-1]),
            peak_bytes=watch.peaks,
        )
