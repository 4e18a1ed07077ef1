"""How long a round takes beside stock Flower and NVIDIA FLARE: `python -m bench.rounds`.

Two sites on loopback with TLS, one program after the other on the same sizes of model:

- `mammofed`: the product by its documented commands, with a network of that size on the smallest picture;
- `unpacked`: the same with updates sent as they are, half as large as the model: none is larger;
- `flower`: stock SuperLink, SuperNodes, ServerApp and ClientApp with FedAvg, without evaluation;
- `objects`: the same Flower with pauses as short as ours and warm processes, so that what is left is the way
  of its arrays; ours go by the blob service;
- `flare`: NVIDIA FLARE in POC mode with its FedAvg recipe, in an environment of its own below build/.

Overhead is a round's time without the computing of its slowest site. Everything that was started is ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from bench import flare_rounds, flower_rounds, our_rounds
from bench.measured_rounds import Rounds
from deploy.demo.federation import CommandError

Measure = Callable[..., Rounds]
PROGRAMS: Mapping[str, Measure] = MappingProxyType(
    {
        "mammofed": our_rounds.measure,
        "unpacked": partial(our_rounds.measure, compression="none"),
        "flower": flower_rounds.measure,
        "objects": partial(flower_rounds.measure, quick=True),
        "flare": flare_rounds.measure,
    }
)
SIZES_MB = (1, 8, 30, 120, 500)


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.rounds", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES_MB, metavar="MB", help="model sizes in float32"
    )
    parser.add_argument("--rounds", type=int, default=4, help="rounds to take the median of (default 4)")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--timeout-s", type=float, default=300.0, help="for one round (default 300)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    # Told to end, it ends what it has started, as at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found: list[Rounds] = []
    for size_mb in options.sizes:
        ours: Rounds | None = None
        for name in options.programs:
            print(f"{name}, {size_mb} MB ...", file=sys.stderr, flush=True)
            one = _measure(PROGRAMS[name], name, 1_000_000 * size_mb, options.rounds, options.timeout_s)
            if one is None:
                continue
            found.append(one)
            ours = one if name == "mammofed" else ours
            if not options.json:
                print_line(one, ours, with_head=len(found) == 1)
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))


def _measure(
    measure: Measure, name: str, model_bytes: int, num_rounds: int, timeout_s: float
) -> Rounds | None:
    """One measurement in a folder of its own; None, and a line that says so, where it cannot be made."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return measure(Path(scratch), model_bytes, num_rounds=num_rounds, timeout_s=timeout_s)
        except (CommandError, subprocess.SubprocessError, OSError) as error:
            print(f"{name} was not measured: {error}", file=sys.stderr)
            return None


def print_line(one: Rounds, ours: Rounds | None, *, with_head: bool) -> None:
    """A measurement, with its overhead as a multiple of ours with the same size."""
    if with_head:
        head = f"{'round s':>9}{'overhead s':>12}{'x ours':>8}{'wire MB':>9}"
        print(f"{'model MB':>8}  {'program':14}{head}  peak MB")
    ratio = f"{one.overhead_s / ours.overhead_s:.1f}" if ours else ""
    peaks = ", ".join(f"{name} {peak / 1e6:.0f}" for name, peak in one.peak_bytes.items())
    print(
        f"{one.model_bytes / 1e6:8.1f}  {one.program:14}{one.round_s:9.2f}{one.overhead_s:12.2f}"
        f"{ratio:>8}{one.wire_bytes / 1e6:9.1f}  {peaks}",
        flush=True,
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; what had been started is ended")
