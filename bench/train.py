"""How fast a site trains beside a plain MONAI loop and nnU-Net: `python -m bench.train`.

Each trainer does the same task, one after the other and several times over, in a process of its own:

- `ours`: the product's trainer, as a round runs it;
- `monai`: CacheDataset, dictionary transforms, DataLoader and a loop, on the same network with torch's own
  instance norms; `monai, bfloat16` is the same under autocast and in channels-last;
- `ours, dyn_unet` and `nnunet`: networks of the same levels and channels, nnU-Net in an environment of its
  own below build/.

Waiting is the time until a batch is there, changed at random and on the device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from bench.training_task import Task, write_pictures
from client.training.device import choose_device
from shared.model import ARCHITECTURES

NNUNET_VERSION = "2.8.1"
NNUNET = Path("build") / "bench" / f"nnunet-{NNUNET_VERSION}"


@dataclass(slots=True, kw_only=True)
class Measured:
    """The steps of one trainer, of all its processes.

    Attributes
    ----------
    beside
        The trainer of ours that it is to be compared with.
    """

    trainer: str
    beside: str
    step_s: list[float] = field(default_factory=list)
    wait_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def images_per_s(self, batch_size: int) -> float:
        """By the median step."""
        return batch_size / statistics.median(self.step_s)

    @property
    def waiting(self) -> float:
        """Share of all time, in %."""
        return 100.0 * sum(self.wait_s) / sum(self.step_s)


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.train", description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=ARCHITECTURES, default="tiny", help="of the network")
    parser.add_argument("--height", type=int, default=512, help="of the input in pixels (default 512)")
    parser.add_argument("--batch", type=int, default=4, help="images in a step (default 4)")
    parser.add_argument("--steps", type=int, default=12, help="in each process (default 12)")
    parser.add_argument("--times", type=int, default=3, help="processes of each trainer (default 3)")
    parser.add_argument("--workers", type=int, default=0, help="of MONAI's DataLoader (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    task = Task(
        network="mtl_unet",
        size=options.size,
        channels=ARCHITECTURES[options.size].channels,
        height_px=options.height,
        width_px=options.height // 2,
        batch_size=options.batch,
        num_steps=options.steps,
        num_images=8 * options.batch,
        device=choose_device("auto").type,
    )
    found = measure(task, num_times=options.times, num_workers=options.workers)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        print_table(found, task)


def measure(task: Task, *, num_times: int, num_workers: int) -> list[Measured]:
    """Every trainer in turn, so that what disturbs this computer disturbs all."""
    own = replace(task, network="dyn_unet")
    monai = [sys.executable, "-m", "bench.train_monai", _json(task), str(num_workers)]
    commands = {
        "ours": [sys.executable, "-m", "bench.train_ours", _json(task)],
        "monai": [*monai, "float32"],
        "monai, bfloat16": [*monai, "bfloat16"],
        "ours, dyn_unet": [sys.executable, "-m", "bench.train_ours", _json(own)],
    }
    found = {
        name: Measured(trainer=name, beside="ours, dyn_unet" if name == "ours, dyn_unet" else "ours")
        for name in commands
    }
    with tempfile.TemporaryDirectory() as scratch:
        if (python := install_nnunet()) is not None:
            pictures = Path(scratch) / "pictures.npz"
            write_pictures(own, pictures)
            script = Path(__file__).with_name("train_nnunet.py")
            commands["nnunet"] = [str(python), str(script), str(pictures)]
            found["nnunet"] = Measured(trainer="nnunet", beside="ours, dyn_unet")
        for time in range(num_times):
            for name, command in commands.items():
                folder = [str(Path(scratch) / str(time))] if name == "nnunet" else []
                _run([*command, *folder], found[name])
    return [one for one in found.values() if one.step_s]


def _json(task: Task) -> str:
    return json.dumps(asdict(task))


def _run(command: Sequence[str], measured: Measured) -> None:
    print(f"{measured.trainer} ...", file=sys.stderr, flush=True)
    environment = {**os.environ, "nnUNet_n_proc_DA": str(os.cpu_count() or 1)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        print(f"{measured.trainer} was not measured: {''.join(last)}", file=sys.stderr)
        return
    told = json.loads(done.stdout.strip().splitlines()[-1])
    measured.step_s += told["step_s"]
    measured.wait_s += told["wait_s"]
    measured.peak_bytes = max(measured.peak_bytes, told["peak_bytes"])


def install_nnunet() -> Path | None:
    """The Python of nnU-Net's environment, which is made where it is missing; None where it cannot be.

    Its torch and everything else that both need are held at our versions.
    """
    python, done = NNUNET / "bin" / "python", NNUNET / "installed"
    try:
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(NNUNET)], check=True)
            packages = [f"torch=={torch.__version__.partition('+')[0]}", f"nnunetv2=={NNUNET_VERSION}"]
            pip = [
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--constraint",
                "constraints.txt",
                *packages,
            ]
            subprocess.run(pip, check=True, capture_output=True)
            done.touch()
    except (subprocess.SubprocessError, OSError) as error:
        print(f"nnU-Net was not installed: {error}", file=sys.stderr)
        return None
    return python.absolute()


def print_table(found: Sequence[Measured], task: Task) -> None:
    """Images a second, each beside that trainer of ours which has the same network."""
    threads = f"{torch.get_num_threads()} CPU threads"
    where = torch.cuda.get_device_name() if task.device == "cuda" else threads
    shape = f"{task.height_px} x {task.width_px}, batch {task.batch_size}"
    print(f"{task.size}, {shape}, {where}, torch {torch.__version__}")
    print(f"{'trainer':18}{'images/s':>9}{'ours x':>8}{'waiting %':>11}{'peak MB':>9}")
    speeds = {one.trainer: one.images_per_s(task.batch_size) for one in found}
    for one in found:
        ratio = f"{speeds[one.beside] / speeds[one.trainer]:.2f}" if one.beside in speeds else ""
        peak_mb = one.peak_bytes / 1e6
        print(f"{one.trainer:18}{speeds[one.trainer]:9.2f}{ratio:>8}{one.waiting:11.1f}{peak_mb:9.0f}")


if __name__ == "__main__":
    main()
