"""A folder as a hospital would have it: DICOM images, ground-truth masks and the meaning of their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import generate_uid

from deploy.demo.phantoms.anatomy import DensityCategory, Tissue, View
from deploy.demo.phantoms.dicom import Exam, to_dicom
from deploy.demo.phantoms.phantom import Laterality, make_phantom
from deploy.demo.phantoms.vendors import Vendor

BOTH_BREASTS: tuple[tuple[Laterality, View], ...] = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))
GIVEN_NAMES = ("ALICE", "BERTHA", "CLARA", "DORA", "EDITH", "FRIDA", "GRETA", "HILDA", "IRENE", "JOSEPHA")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenImage:
    """One image of a hospital's folder, with what its header says of the (invented) woman."""

    image_path: Path
    mask_path: Path
    patient_name: str
    patient_id: str
    accession_number: str
    percent_density: float


def write_hospital(
    folder: Path,
    *,
    vendor: Vendor,
    patients: int,
    seed: int,
    density_mix: Mapping[DensityCategory, float],
    spacing_mm: float = 0.25,
    both_breasts: bool = False,
) -> Iterator[WrittenImage]:
    """Write a hospital image by image: `images/*.dcm`, `masks/<SOPInstanceUID>.png`, `masks/values.toml`.

    The same arguments give the same bytes. Nothing is written until the iterator is consumed.

    Parameters
    ----------
    patients
        Number of women, each with one exam.
    density_mix
        Share of women per category; shares are scaled to sum to 1.
    both_breasts
        Two views of both breasts per woman, else of one breast, left and right in turn.
    """
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(exist_ok=True)
    (masks / "values.toml").write_text(_values_table(), encoding="utf-8")
    categories = _share_out(density_mix, patients, np.random.default_rng([seed, 0]))
    for number, category in enumerate(categories, start=1):
        exam = _invent_exam(folder.name, seed, number)
        views = [view for view in BOTH_BREASTS if both_breasts or view[0] == "LR"[number % 2]]
        for instance_number, (laterality, view) in enumerate(views, start=1):
            phantom = make_phantom(
                _woman_seed(seed, number),
                density_category=category,
                view=view,
                laterality=laterality,
                vendor=vendor,
                spacing_mm=spacing_mm,
            )
            uid = generate_uid(entropy_srcs=[folder.name, str(seed), str(number), laterality, view])
            image_path = images / f"{exam.patient_id}_{laterality}{view}.dcm"
            mask_path = masks / f"{uid}.png"
            dataset = to_dicom(phantom, exam, sop_instance_uid=uid, instance_number=instance_number)
            dataset.save_as(image_path, enforce_file_format=True)
            Image.fromarray(phantom.labels_HW).save(mask_path)
            yield WrittenImage(
                image_path=image_path,
                mask_path=mask_path,
                patient_name=exam.patient_name,
                patient_id=exam.patient_id,
                accession_number=exam.accession_number,
                percent_density=phantom.percent_density,
            )


def _values_table() -> str:
    return "[values]\n" + "".join(f"{tissue.name.lower()} = {tissue.value}\n" for tissue in Tissue)


def _woman_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _share_out(
    mix: Mapping[DensityCategory, float], patients: int, rng: np.random.Generator
) -> list[DensityCategory]:
    """One category per woman in random order, the counts as near to the mix as whole women allow."""
    categories = sorted(mix)
    exact = np.array([mix[category] for category in categories]) * patients / sum(mix.values())
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]:
        counts[index] += 1
    women = [category for category, count in zip(categories, counts, strict=True) for _ in range(int(count))]
    return [women[index] for index in rng.permutation(patients)]


def _invent_exam(hospital: str, seed: int, number: int) -> Exam:
    rng = np.random.default_rng([seed, number, 1])
    study = date(2021, 1, 4) + timedelta(days=int(rng.integers(0, 900)))
    age_years = int(rng.integers(42, 78))
    birth = date(study.year - age_years, 1, 1) + timedelta(days=int(rng.integers(0, 3)))
    initial = hospital.removeprefix("hospital-")[:1].upper()
    return Exam(
        institution=f"PHANTOM {hospital.upper()}",
        patient_name=f"PHANTOM^{GIVEN_NAMES[number % len(GIVEN_NAMES)]}{number:04d}",
        patient_id=f"{initial}{number:04d}{rng.integers(1000, 10_000)}",
        birth_date=f"{birth:%Y%m%d}",
        age_years=age_years,
        accession_number=f"ACC{initial}{rng.integers(10**8, 10**9)}",
        study_date=f"{study:%Y%m%d}",
        study_time=f"{rng.integers(8, 18):02d}{rng.integers(0, 60):02d}{rng.integers(0, 60):02d}",
        study_uid=generate_uid(entropy_srcs=[hospital, str(seed), str(number), "study"]),
        series_uid=generate_uid(entropy_srcs=[hospital, str(seed), str(number), "series"]),
    )
