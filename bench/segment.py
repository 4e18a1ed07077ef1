"""How long a mammogram of 4,700 x 2,900 pixels takes, from the command line and in a process that is warm.

`OMP_NUM_THREADS=2 python -m bench.segment`: a phantom at 0.05 mm as JPEG 2000 (lossless), and an untrained
model of the default plan. Cold is `mammofed-site segment` from the start of its process to the end; warm is
one image more in a process that has a model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.published_model import join, publish
from client.home import SiteHome
from client.inference.reading import read_image
from client.using import load_model, segment
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.plan import Plan, RoundsPlan
from shared.trust.keys import SigningKey

ROWS, COLUMNS, SPACING_MM = 4700, 2900, 0.05
PLAN = Plan(name="bench", rounds=RoundsPlan(count=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """One run of the command.

    Attributes
    ----------
    peak_bytes
        Resident memory of its largest process.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.segment")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each kind (default 5)")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        key = SigningKey.generate()
        home = join(Path(folder, "home"), key)
        model = publish(Path(folder, "model"), key, plan=PLAN)
        image = _phantom(Path(folder, "hospital"))
        print(
            f"{ROWS} x {COLUMNS} pixels, {image.stat().st_size / 1e6:.1f} MB; {PLAN.model.network}, "
            f"{PLAN.model.size}; {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
        )
        colds = [_cold(image, model, home) for _ in range(repeat)]
        print(
            f"cold: {_spread([one.wall_s for one in colds])} s wall, "
            f"{_spread([one.cpu_s for one in colds])} s CPU, "
            f"{max(one.peak_bytes for one in colds) / 2**20:.0f} MiB at most"
        )
        _warm(image, model, home, repeat)


def _phantom(folder: Path) -> Path:
    vendor = replace(HOLOGIC, field_mm=(ROWS * SPACING_MM, COLUMNS * SPACING_MM))
    written = write_hospital(
        folder, vendor=vendor, patients=1, seed=3, density_mix={"c": 1.0}, spacing_mm=SPACING_MM
    )
    return next(iter(written)).image_path


def _cold(image: Path, model: Path, home: SiteHome) -> Cold:
    program = Path(sys.executable).with_name("mammofed-site")
    arguments: list[Path | str] = ["segment", image, "--model", model, "--home", home.folder]
    began = time.perf_counter()
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit("The command failed.")
    return Cold(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_bytes=1024 * used.ru_maxrss)


def _warm(image: Path, model: Path, home: SiteHome, repeat: int) -> None:
    began = time.perf_counter()
    loaded = load_model(home, model)
    print(f"warm: model verified and loaded in {time.perf_counter() - began:.2f} s")
    reading, segmenting = [], []
    for _ in range(repeat + 1):  # the first one warms up
        began = time.perf_counter()
        read = read_image(image)
        middle = time.perf_counter()
        segment(loaded, read)
        reading.append(middle - began)
        segmenting.append(time.perf_counter() - middle)
    print(f"warm: {_spread(reading[1:])} s read and prepared, {_spread(segmenting[1:])} s segmented")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
