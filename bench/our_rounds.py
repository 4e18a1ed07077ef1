"""Rounds of this product: a coordinator and two sites, by the documented commands, over TLS on loopback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import tomli_w

from bench.measured_rounds import NUM_SITES, Rounds, rounds_of
from bench.processes import Watch
from deploy.demo.federation import Role, coordinator, free_ports, site, stopped_at_end
from deploy.demo.phantoms import GE, write_hospital
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from shared.model import blank_model
from shared.plan import ModelPlan
from shared.records import Phase

PROCESSES = {
    "server.flower.superlink": "SuperLink",
    "server.flower.runner": "runner",
    "mammofed-coordinator": "coordinator",
    "client.flower.supernode": "SuperNode",
    "client.flower.executor": "executor",
    "mammofed-site": "site",
}
POLICY = 'approval = "not needed"\ndata.min_examples = 1\negress.smallest_count = 1\n'
INPUT_PX = 64
NARROWEST, WIDEST, FINENESS = 0.1, 8.0, 0.001


def plan_of(model_bytes: int) -> ModelPlan:
    """The network whose weights come nearest to a size from below, on the smallest picture."""
    low, high = NARROWEST, WIDEST
    while high - low > FINENESS:
        middle = (low + high) / 2
        low, high = (middle, high) if bytes_of(_wide(middle)) <= model_bytes else (low, middle)
    return _wide(round(low, 3))


def bytes_of(plan: ModelPlan) -> int:
    """Of a network's weights in float32."""
    return sum(4 * tensor.numel() for tensor in blank_model(plan).state_dict().values())


def _wide(width: float) -> ModelPlan:
    return ModelPlan(size="base", width=width, input_height_px=INPUT_PX, input_width_px=INPUT_PX)


def measure(
    folder: Path,
    model_bytes: int,
    *,
    num_rounds: int,
    timeout_s: float,
    compression: Literal["zstd", "none"] = "zstd",
) -> Rounds:
    """Found a federation below a folder and carry one run through its rounds.

    Parameters
    ----------
    compression
        With `none` an update is half as large as the model, as one that does not pack would be.
    """
    network = plan_of(model_bytes)
    with Watch(PROCESSES) as watch:
        head = coordinator(folder / "coordinator", environment=watch.environment)
        sites = [
            site(folder / f"site-{number}", environment=watch.environment) for number in range(NUM_SITES)
        ]
        with stopped_at_end(head, *sites):
            head.run("init", "--name", "Bench", "--host", "127.0.0.1", "--first-port", str(free_ports(5)))
            head.start()
            for number, member in enumerate(sites):
                _bring_in(head, member, name=f"site-{number}", seed=number + 1)
            plan = folder / "plan.toml"
            document = {
                "name": "bench",
                "rounds": {"count": num_rounds, "quorum": NUM_SITES, "timeout_s": timeout_s},
                "model": network.model_dump(exclude_none=True),
                "aggregation": {"compression": compression},
                "training": {"batch_size": 8, "augment": False},
            }
            plan.write_text(tomli_w.dumps(document))
            run_id = head.ask("run", "start", str(plan), "--detach")["run_id"]
            head.run("run", "watch", run_id, "--json", timeout_s=(num_rounds + 2) * timeout_s)
        stamps = stamps_of(head.home, run_id)
        return rounds_of(
            "mammofed" if compression == "zstd" else "unpacked",
            model_bytes=bytes_of(network),
            stamps=stamps,
            computed=[_computed(member.home, run_id) for member in sites],
            wire_bytes=watch.bytes_between(stamps[0], stamps[-1]),
            peak_bytes=watch.peaks,
        )


def _bring_in(head: Role, member: Role, *, name: str, seed: int) -> None:
    images = member.home.with_name(f"{name}-images")
    for _ in write_hospital(images, vendor=GE, patients=3, seed=seed, density_mix={"b": 1}, spacing_mm=0.5):
        pass
    member.run("join", head.ask("site", "invite", name)["token"])
    (member.home / "policy.toml").write_text(POLICY)
    member.run("data", "add", str(images))
    member.start()


def stamps_of(home: Path, run_id: str) -> list[float]:
    """When each training round began, and the last one ended."""
    attempts = Coordinator.open(CoordinatorHome(home)).runs.rounds(run_id)
    rounds = [one for one in attempts if one.phase is Phase.TRAIN]
    began = {one.number: one.opened_at for one in reversed(rounds)}
    last = rounds[-1].closed_at
    assert last is not None  # the run is finished
    return [*sorted(began.values()), last]


def _computed(home: Path, run_id: str) -> list[float]:
    log = (home / "logs" / "executor.log").read_text()
    found = re.findall(rf"{run_id} round (\d+) computed in ([\d.]+) s", log)
    return list({number: float(seconds) for number, seconds in found}.values())
