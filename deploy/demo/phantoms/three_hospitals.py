"""Three hospitals that differ in vendor, size and the density of their women."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.phantoms.anatomy import DensityCategory
from deploy.demo.phantoms.hospital import write_hospital
from deploy.demo.phantoms.vendors import GE, HOLOGIC, SIEMENS, Vendor

REPORT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoHospital:
    """One hospital of the demo; `share` is its number of women relative to the largest hospital."""

    name: str
    vendor: Vendor
    share: float
    density_mix: dict[DensityCategory, float]


HOSPITALS = (
    DemoHospital(
        name="hospital-north",
        vendor=HOLOGIC,
        share=1.0,
        density_mix={"a": 0.10, "b": 0.40, "c": 0.40, "d": 0.10},
    ),
    DemoHospital(
        name="hospital-lake",
        vendor=GE,
        share=0.75,
        density_mix={"a": 0.25, "b": 0.50, "c": 0.20, "d": 0.05},
    ),
    DemoHospital(
        name="hospital-coast",
        vendor=SIEMENS,
        share=0.6,
        density_mix={"a": 0.05, "b": 0.20, "c": 0.45, "d": 0.30},
    ),
)


def write_hospitals(
    out: Path, *, patients: int, seed: int, spacing_mm: float = 0.25, both_breasts: bool = False
) -> list[Path]:
    """Write a folder for each hospital, telling the terminal how fast and how long; returns the folders.

    Parameters
    ----------
    patients
        Women at the largest hospital.
    seed
        The same seed gives the same bytes.
    spacing_mm
        Pixel spacing; larger is faster.
    both_breasts
        Four views per woman instead of two.
    """
    for number, hospital in enumerate(HOSPITALS):
        num_women = max(1, round(patients * hospital.share))
        images = write_hospital(
            out / hospital.name,
            vendor=hospital.vendor,
            patients=num_women,
            seed=1000 * seed + number,
            density_mix=hospital.density_mix,
            spacing_mm=spacing_mm,
            both_breasts=both_breasts,
        )
        total = num_women * (4 if both_breasts else 2)
        began = reported = time.monotonic()
        for done, _ in enumerate(images, start=1):
            now = time.monotonic()
            if done == total or now - reported >= REPORT_EVERY_S:
                reported = now
                rate = done / (now - began)
                print(
                    f"{hospital.name}: {done} of {total} images, {rate:.1f} a second, "
                    f"{(total - done) / rate:.0f} s left",
                    flush=True,
                )
    return [out / hospital.name for hospital in HOSPITALS]
