"""How well density bands are learnt, and how far to believe their probabilities: `python -m bench.bands`.

A federation of sites that have categories alone, masks alone, or both trains a head for density bands; what
it says of women it has not seen is set beside their categories, and beside bands by percent density alone.
Categories are simulated: none of these figures tells of readers.

The phantoms' category is that of the range from which their density was drawn: three hospitals, one with
masks and categories, one with masks, one with categories. With `--msynth` also the FDA's synthetic mammograms
(M-SYNTH), whose names tell their category: two sites with categories, beside three of phantoms with masks.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.learning import LearningSite, PatientExample, learn, load_examples, read_hospitals
from client.evaluation.images import ImageMetrics
from client.evaluation.statistics import Statistics
from client.imaging.example import Example, Label
from client.training.dataset import FittedDataset
from deploy.demo.phantoms.anatomy import PERCENT_DENSITY_RANGES
from shared.bands import BANDS, Band
from shared.evaluation.measures import MEASURES, figure_text, figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan

MSYNTH_NAME = re.compile(r"P(?P<patient>\d+)_D(?P<density>[a-z]+)_")
MSYNTH_BANDS = {"fatty": "a", "scattered": "b", "hetero": "c", "dense": "d"}
SHOWN = [name for name in MEASURES if name.startswith(("category_", "band_"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """Whose images a site has, and which of their labels it trains with.

    Attributes
    ----------
    has_masks, has_categories
        In training; a test image keeps its category.
    """

    examples: Sequence[PatientExample]
    has_masks: bool
    has_categories: bool


def main() -> None:
    """Train and test every fold of each federation, and print a table of each."""
    parser = argparse.ArgumentParser(prog="python -m bench.bands", description=__doc__.partition("\n")[0])
    parser.add_argument("--msynth", type=Path, help="folder of M-SYNTH images, such as P1_Ddense_L5.0_X1.jpg")
    parser.add_argument("--folds", type=int, default=3, help="of the cross-validation by women (default 3)")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of each run (default 8)")
    parser.add_argument("--height", type=int, default=128, help="of the input in pixels (default 128)")
    options = parser.parse_args()
    plan = Plan(
        name="bands",
        rounds=RoundsPlan(count=options.rounds, quorum=2),
        model=ModelPlan(
            size="tiny",
            density_band="simulated",
            input_height_px=options.height,
            input_width_px=options.height // 2,
        ),
        training=TrainingPlan(local_epochs=3, batch_size=4, learning_rate=3e-3),
    )
    phantoms = {
        name: [replace(one, example=_categorised(one.example)) for one in examples]
        for name, examples in read_hospitals(None).items()
    }
    kinds = {"both": (True, True), "masks": (True, False), "categories": (False, True)}
    _compare(
        "Phantoms",
        {
            f"{name}-{kind}": Hospital(examples=examples, has_masks=masks, has_categories=categories)
            for (name, examples), (kind, (masks, categories)) in zip(
                phantoms.items(), kinds.items(), strict=True
            )
        },
        plan,
        options.folds,
    )
    if options.msynth is not None:
        with_masks = {
            name: Hospital(examples=examples, has_masks=True, has_categories=False)
            for name, examples in phantoms.items()
        }
        with_categories = {
            name: Hospital(examples=examples, has_masks=False, has_categories=True)
            for name, examples in read_msynth(options.msynth).items()
        }
        _compare("M-SYNTH", with_categories | with_masks, plan, options.folds, tested=list(with_categories))


def read_msynth(folder: Path) -> dict[str, list[PatientExample]]:
    """The images of a folder at two sites, those of one digital woman at one of them."""
    with tempfile.TemporaryDirectory() as made:
        archive = Path(made)
        rows = []
        for path in sorted(folder.iterdir()):
            found = MSYNTH_NAME.match(path.name)
            if found:
                name = f"{path.stem}.png"
                with Image.open(path) as picture:
                    # The chest wall lies above, and below the field there is noise.
                    field = picture.crop((0, 0, picture.width, picture.height * 2 // 3))
                    field.transpose(Image.Transpose.ROTATE_90).save(archive / name, compress_level=1)
                rows.append([name, found["patient"], MSYNTH_BANDS[found["density"]]])
        with (archive / "index.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["image", "patient", "density"], *rows])
        examples = load_examples(archive)
    women = sorted({one.patient for one in examples})
    return {
        f"msynth-{number}": [one for one in examples if women.index(one.patient) % 2 == number]
        for number in range(2)
    }


def _categorised(example: Example) -> Example:
    """A phantom with the category whose range its density lies in."""
    assert example.labels_HW is not None
    pixels = np.bincount(example.labels_HW.ravel(), minlength=len(Label))
    percent = 100 * pixels[Label.DENSE] / (pixels[Label.DENSE] + pixels[Label.ADIPOSE])
    lower_ends = [PERCENT_DENSITY_RANGES[band][0] for band in BANDS[1:]]
    return replace(example, density=BANDS[sum(percent >= end for end in lower_ends)])


def _compare(
    title: str,
    hospitals: Mapping[str, Hospital],
    plan: Plan,
    num_folds: int,
    *,
    tested: Sequence[str] | None = None,
) -> None:
    """A line for each tested site, and for all of them: by the head, then by percent density alone."""
    names = list(hospitals) if tested is None else tested
    seen: dict[str, list[tuple[ImageMetrics, Band]]] = {name: [] for name in names}
    for fold in range(num_folds):
        sites = [_site(name, hospital, plan, fold, num_folds) for name, hospital in hospitals.items()]
        outcome = learn(plan, sites, bits=16)
        for name in names:
            categories = {one.example.example_id: one.example.density for one in hospitals[name].examples}
            for image in outcome.images[name]:
                category = categories[image.example_id]
                assert category is not None
                seen[name].append((image, category))
    print(f"\n{title}: women not trained on, {num_folds} folds\n")
    print(f"{'site':44}{'images':>7}" + "".join(f"{MEASURES[name].heading:>26}" for name in SHOWN))
    for words, has_head in (("head", True), ("percent density alone", False)):
        of_sites = {name: _evaluated(seen[name], has_head=has_head) for name in names}
        for name, one in {**of_sites, "all": pool(list(of_sites.values()))}.items():
            assert one is not None
            told = figures(one)
            cells = "".join(f"{figure_text(measure, told.get(measure)):>26}" for measure in SHOWN)
            print(f"{name + ': ' + words:44}{one.num_examples:>7}{cells}", flush=True)
    pairs = [pair for name in names for pair in seen[name]]
    for flagged in (False, True):
        right = [
            image.band.band == read
            for image, read in pairs
            if image.band and image.band.is_borderline is flagged
        ]
        share = f"{np.mean(right):.2f}" if right else "-"
        print(f"agreement of {len(right)} images {'with' if flagged else 'without'} a second read: {share}")


def _evaluated(seen: Sequence[tuple[ImageMetrics, Band]], *, has_head: bool) -> Evaluation:
    images = [image if has_head else replace(image, band=None) for image, _ in seen]
    return Statistics(images=images, categories=[read for _, read in seen]).evaluation(["density_categories"])


def _site(name: str, hospital: Hospital, plan: Plan, fold: int, num_folds: int) -> LearningSite:
    """A site whose every `num_folds`-th woman is tested on."""
    women = sorted({one.patient for one in hospital.examples})
    held_out = set(women[fold::num_folds])
    kept = [_as_there(one.example, hospital) for one in hospital.examples if one.patient not in held_out]
    unseen = [one.example for one in hospital.examples if one.patient in held_out]
    return LearningSite(
        name=name, train=FittedDataset(kept, plan.model), test=FittedDataset(unseen, plan.model)
    )


def _as_there(example: Example, hospital: Hospital) -> Example:
    """An example with the labels that its site trains with."""
    return replace(
        example,
        labels_HW=example.labels_HW if hospital.has_masks else None,
        density=example.density if hospital.has_categories else None,
    )


if __name__ == "__main__":
    main()
