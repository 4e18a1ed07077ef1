"""What a site costs the coordinator: `python -m bench.scale`.

A coordinator by its documented commands, and for each number of sites a federation of light sites
(`bench.simulated_sites`) that speak the real protocol over TLS on loopback. Printed are a round's time, the
CPU time of the coordinator's processes in a round and, while nothing is asked, in a second; their memory;
bytes on the wire; and the time that they spend in the store (`bench.store_clock`). The sites share the
machine with the coordinator, so that a round's time is an upper bound; CPU time is not.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import tomli_w

from bench.our_rounds import PROCESSES, plan_of, stamps_of
from bench.processes import Watch
from bench.simulated_sites import INVITATIONS, ONLINE
from deploy.demo.federation import CommandError, Role, coordinator, free_ports, stopped_at_end, wait_until
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.identifiers import new_site_id
from shared.trust.certificates import fingerprint

NUMBERS = (10, 50, 200)
SITES_IN_A_PROCESS = 100
SETTLE_S = 65.0
"""After that long without a message a site asks as seldom as it ever does (`client.flower.pace`)."""

IDLE_S = 10.0
SIDE = ("coordinator", "SuperLink", "runner")
STORE_CLOCK = Path(__file__).parent / "store_clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What rounds with so many sites cost.

    Attributes
    ----------
    num_counted
        Sites whose update counts in a round, on average.
    join_s
        From the first invitation that is used until all sites are online.
    round_s
        Median time of a round.
    idle_cpu
        CPU time of each process in a second in which nothing is asked.
    round_cpu, peak_bytes
        CPU time in a round, and largest resident memory, of each process.
    wire_bytes
        Over loopback in a round.
    store_s, store_calls
        Seconds in statements and commits in a round, and how many of these, of all processes together.
    """

    num_sites: int
    num_counted: float
    model_bytes: int
    join_s: float
    round_s: float
    idle_cpu: Mapping[str, float]
    round_cpu: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    wire_bytes: int
    store_s: float
    store_calls: int


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--sites", type=int, nargs="+", default=NUMBERS, help="numbers of sites")
    parser.add_argument("--size-mb", type=float, default=1.0, help="model in float32 (default 1 MB)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds to take the median of (default 4)")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="for one round (default 600)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = []
    for num_sites in options.sites:
        print(f"{num_sites} sites ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            cost = measure(
                Path(scratch),
                num_sites,
                model_bytes=round(1e6 * options.size_mb),
                num_rounds=options.rounds,
                timeout_s=options.timeout_s,
            )
        found.append(cost)
        if not options.json:
            print_cost(cost)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))


def measure(folder: Path, num_sites: int, *, model_bytes: int, num_rounds: int, timeout_s: float) -> Cost:
    """Found a federation, let it stand idle for a while, and carry one run through its rounds."""
    clocks = folder / "clocks"
    clocks.mkdir()
    with Watch(PROCESSES) as watch:
        environment = {
            **watch.environment,
            "STORE_CLOCK": str(clocks),
            "PYTHONPATH": str(STORE_CLOCK),
        }
        head = coordinator(folder / "coordinator", environment=environment)
        with stopped_at_end(head):
            head.run("init", "--name", "Scale", "--host", "127.0.0.1", "--first-port", str(free_ports(5)))
            head.start()
            began = time.time()
            with _sites(folder, head, num_sites, timeout_s=timeout_s) as sites:
                joined_s = time.time() - began
                time.sleep(SETTLE_S)
                idle_from = time.time()
                time.sleep(IDLE_S)
                idle_cpu = watch.cpu_between(idle_from, time.time())
                run_id = _start_run(folder, head, num_sites, model_bytes, num_rounds, timeout_s)
                store_from = _store(clocks)
                _await_end(head, run_id, sites, timeout_s=(num_rounds + 2) * timeout_s)
                store_until = _store(clocks)
        stamps = stamps_of(head.home, run_id)
        used = watch.cpu_between(stamps[0], stamps[-1])
        return Cost(
            num_sites=num_sites,
            num_counted=_counted(head, run_id),
            model_bytes=model_bytes,
            join_s=joined_s,
            round_s=statistics.median(end - begin for begin, end in pairwise(stamps)),
            idle_cpu={name: idle_cpu[name] / IDLE_S for name in SIDE},
            round_cpu={name: used[name] / num_rounds for name in SIDE},
            peak_bytes={name: watch.peaks[name] for name in SIDE},
            wire_bytes=watch.bytes_between(stamps[0], stamps[-1]) // num_rounds,
            store_s=(store_until[0] - store_from[0]) / num_rounds,
            store_calls=round((store_until[1] - store_from[1]) / num_rounds),
        )


@contextmanager
def _sites(
    folder: Path, head: Role, num_sites: int, *, timeout_s: float
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of so many sites, all of them online."""
    tokens = invitations(head.home, num_sites)
    groups = [tokens[start : start + SITES_IN_A_PROCESS] for start in range(0, num_sites, SITES_IN_A_PROCESS)]
    processes: list[subprocess.Popen[bytes]] = []
    places = [folder / f"sites-{number}" for number in range(len(groups))]
    try:
        for place, group in zip(places, groups, strict=True):
            place.mkdir()
            (place / INVITATIONS).write_text("\n".join(group))
            line = [sys.executable, "-m", "bench.simulated_sites", str(place)]
            log = (place / "log").open("w")
            processes.append(subprocess.Popen(line, stdin=subprocess.PIPE, stdout=log, stderr=log))

        def all_online() -> bool:
            _require_running(processes)
            files = [place / ONLINE for place in places]
            return sum(len(set(file.read_text().split())) for file in files if file.exists()) == num_sites

        wait_until(all_online, timeout_s, "all sites to be online")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _require_running(sites: Sequence[subprocess.Popen[bytes]]) -> None:
    """A measurement with fewer sites than it says is none."""
    if any(process.poll() is not None for process in sites):
        raise CommandError("light sites have ended in the middle of the measurement: one was cut off")


def _await_end(
    head: Role, run_id: str, sites: Sequence[subprocess.Popen[bytes]], *, timeout_s: float
) -> None:
    runs = Coordinator.open(CoordinatorHome(head.home)).runs

    def is_over() -> bool:
        _require_running(sites)
        return runs.get(run_id).state.is_over

    wait_until(is_over, timeout_s, "the run's end")
    if (failure := runs.get(run_id).failure) is not None:
        raise CommandError(failure)


def invitations(home_folder: Path, num_sites: int) -> list[str]:
    """One invitation for each site, as `site invite` makes them one by one."""
    home = CoordinatorHome(home_folder)
    settings, opened = home.settings(), Coordinator.open(home)
    tokens = []
    for name in (f"site-{number}" for number in range(num_sites)):
        token = InvitationToken(
            host=settings.host,
            port=settings.enrolment_port,
            root_fingerprint=fingerprint(opened.anchors.root_pem),
            secret=Secret.generate(),
            site_name=name,
        )
        now = time.time()
        opened.federation.invite(
            secret_hash=hash_secret(token.secret),
            site_id=new_site_id(),
            site_name=name,
            now=now,
            expires_at=now + 86_400,
            actor="bench",
        )
        tokens.append(token.reveal())
    return tokens


def _start_run(
    folder: Path, head: Role, num_sites: int, model_bytes: int, num_rounds: int, timeout_s: float
) -> str:
    plan = folder / "plan.toml"
    document = {
        "name": "scale",
        "rounds": {"count": num_rounds, "quorum": _quorum(num_sites), "timeout_s": timeout_s},
        "model": plan_of(model_bytes).model_dump(exclude_none=True),
        # The simulated sites do not speak of masks; what these cost is measured by `make bench-masking`.
        "privacy": {"secure_aggregation": "off"},
    }
    plan.write_text(tomli_w.dumps(document))
    run_id: str = head.ask("run", "start", str(plan), "--detach")["run_id"]
    return run_id


def _counted(head: Role, run_id: str) -> float:
    rounds = Coordinator.open(CoordinatorHome(head.home)).histories.rounds(run_id)
    return statistics.mean(one.num_admitted for one in rounds)


def _quorum(num_sites: int) -> int:
    """Of many sites that share few cores one or another is always just coming back."""
    return num_sites - num_sites // 20


def _store(clocks: Path) -> tuple[float, int]:
    """Seconds in the store so far, and calls, of all processes."""
    lines = [line.split() for file in clocks.iterdir() if (line := file.read_text())]
    return sum(float(seconds) for seconds, _ in lines), sum(int(calls) for _, calls in lines)


def print_cost(cost: Cost) -> None:
    """One number of sites, and what each of them costs."""
    each = {
        "round": 1000 * cost.round_s,
        **{f"{name}'s CPU": 1000 * cost.round_cpu[name] for name in SIDE},
        "store": 1000 * cost.store_s,
    }
    print(f"{cost.num_sites} sites, {cost.model_bytes / 1e6:.1f} MB; joined in {cost.join_s:.1f} s")
    print(
        f"  a round: {cost.round_s:.2f} s, {cost.num_counted:.1f} counted; "
        + ", ".join(f"{name} {seconds:.2f} s CPU" for name, seconds in cost.round_cpu.items())
        + f"; store {cost.store_s:.2f} s in {cost.store_calls} calls; {cost.wire_bytes / 1e6:.1f} MB"
    )
    print("  each site: " + ", ".join(f"{name} {ms / cost.num_sites:.1f} ms" for name, ms in each.items()))
    print("  idle: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in cost.idle_cpu.items()))
    print("  peak: " + ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in cost.peak_bytes.items()))
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what had been started is ended")
    except CommandError as error:
        sys.exit(f"{error}; what had been started is ended")
