"""A study splits by patient, goes on where it was interrupted, and tells what its images say."""

from pathlib import Path

import numpy as np
import pytest

from bench.learning import PatientExample
from bench.learning import tested as evaluated_images
from bench.study.aims import aims_of
from bench.study.arms import Arm, arms_of, run_arm
from bench.study.figures import (
    ArmResults,
    density_bias,
    density_correlation,
    density_error,
    dice_of,
    figure_of,
    four_class_dice,
    pixel_dice_of,
)
from bench.study.folds import folds_of
from bench.study.report import Study, behind_foreign, page
from bench.study.results import SEGMENTS, ImageResult, Pixels, Result, Results, segmented, settings_of
from client.imaging.example import Example, Label
from client.training.dataset import FittedDataset
from shared.model import initial_model
from shared.model.weights import weights_of
from shared.plan import ModelPlan, PersonalisationPlan, Plan, RoundsPlan, TrainingPlan

PLAN = Plan(
    name="small",
    rounds=RoundsPlan(count=2, quorum=2),
    model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    training=TrainingPlan(local_epochs=1, batch_size=2),
)


def example(name: str, seed: int = 0) -> Example:
    random = np.random.default_rng(seed)
    labels_HW = np.full((64, 64), Label.ADIPOSE, np.uint8)
    labels_HW[20:40, 10:40] = Label.DENSE
    image_HW = (labels_HW.astype(np.uint16) * 20_000) + random.integers(0, 5000, (64, 64), np.uint16)
    return Example(example_id=name, image_HW=image_HW, labels_HW=labels_HW)


def hospital(name: str, *, patients: int, images: int = 1) -> list[PatientExample]:
    return [
        PatientExample(patient=f"patient-{patient}", example=example(f"{name}-{patient}-{image}"))
        for patient in range(patients)
        for image in range(images)
    ]


def image(dice: float, measured: float, expert: float, name: str = "one") -> ImageResult:
    """An image with a breast of 1,000 pixels, so dense that percent density and dense Dice are as given."""
    dense_measured, dense_expert = round(10 * measured), round(10 * expert)
    both = round(dice * (dense_measured + dense_expert) / 2)
    pixels = dict.fromkeys(SEGMENTS, Pixels(both=1000, measured=1000, expert=1000))
    dense = Pixels(both=both, measured=dense_measured, expert=dense_expert)
    return ImageResult(image=name, pixels={**pixels, "dense": dense})


def result(arm: str, images: dict[str, list[ImageResult]], fold: int = 1) -> Result:
    settings = settings_of(PLAN)
    return Result(arm=arm, fold=fold, settings=settings, num_steps=4, seconds=1.0, images=images)


def test_every_image_is_tested_once_and_no_patient_is_trained_and_tested_on() -> None:
    hospitals = {"north": hospital("n", patients=7, images=2), "south": hospital("s", patients=4)}

    folds = folds_of(hospitals, num_folds=5, seed=1)

    tested = [one.example_id for fold in folds for of_site in fold.test.values() for one in of_site]
    assert sorted(tested) == sorted(
        one.example.example_id for of_site in hospitals.values() for one in of_site
    )
    for fold in folds:
        for name in hospitals:
            patients = {
                part: {one.example_id.rpartition("-")[0] for one in getattr(fold, part)[name]}
                for part in ("train", "test")
            }
            assert not patients["train"] & patients["test"]
    # Eleven patients over five folds: one has three, the others two.
    sizes = [
        len({one.example_id.rpartition("-")[0] for them in fold.test.values() for one in them})
        for fold in folds
    ]
    assert sorted(sizes) == [2, 2, 2, 2, 3]


def test_a_model_in_one_place_takes_half_as_many_steps_as_all_sites_of_a_federation() -> None:
    hospitals = {"north": hospital("n", patients=5), "south": hospital("s", patients=5)}
    fold = folds_of(hospitals, num_folds=5, seed=1)[0]
    by_name = {arm.name: arm for arm in arms_of(["north", "south"], ["fedavg", "fedbn"], personal=False)}

    # Four training images at each of two hospitals, in batches of two, over two rounds: eight steps.
    for name, num_steps in (("pooled", 4), ("fedavg", 8), ("fedbn", 8), ("local south", 4)):
        seen: list[tuple[int, int]] = []
        found = run_arm(by_name[name], fold, PLAN, lambda *step, seen=seen: seen.append(step))
        assert found.num_steps == num_steps
        assert seen[-1][0] == num_steps
        assert {site: len(images) for site, images in found.images.items()} == {"north": 1, "south": 1}


def test_an_arm_trains_to_the_same_figures_again() -> None:
    hospitals = {"north": hospital("n", patients=3), "south": hospital("s", patients=3)}
    fold = folds_of(hospitals, num_folds=3, seed=1)[0]
    arm = Arm(name="fedavg", strategy="fedavg", sites=("north", "south"))

    first, second = (run_arm(arm, fold, PLAN, lambda _taken, _total: None) for _ in range(2))

    assert first.images == second.images


def test_a_personal_model_is_tested_where_it_was_made_and_the_federation_trains_as_ever() -> None:
    hospitals = {"north": hospital("n", patients=3), "south": hospital("s", patients=3)}
    fold = folds_of(hospitals, num_folds=3, seed=1)[0]
    own = PersonalisationPlan(layers="dense_decoder", epochs=2, learning_rate=1e-2)
    plan = PLAN.model_copy(update={"personalisation": own})
    by_name = {arm.name: arm for arm in arms_of(["north", "south"], ["fedavg"], personal=True)}

    common, personal = (
        run_arm(by_name[name], fold, plan, lambda _taken, _total: None)
        for name in ("fedavg", "fedavg personal")
    )

    assert common.settings == settings_of(PLAN)
    assert personal.settings == settings_of(plan)
    for site in hospitals:
        for before, after in zip(common.images[site], personal.images[site], strict=True):
            assert before.pixels["breast"] == after.pixels["breast"]
            assert before.pixels["dense"].measured != after.pixels["dense"].measured


def test_pixels_say_what_the_products_evaluation_says() -> None:
    weights = weights_of(initial_model(PLAN))
    examples = FittedDataset([example("first", seed=1), example("second", seed=2)], PLAN.model)

    counted = segmented(weights, examples, PLAN)
    evaluated = evaluated_images(weights, examples, PLAN)

    for one, other in zip(counted, evaluated, strict=True):
        alone = ArmResults.of([result("one", {"north": [one]})])
        assert one.image == other.example_id
        assert alone.value(dice_of("dense")) == other.dice_dense
        assert alone.value(dice_of("breast")) == other.dice_breast
        assert alone.value(dice_of("pectoral")) == other.dice_pectoral
        assert other.percent_density_error == pytest.approx(alone.value(density_error))
        parts = sum(one.pixels[name].measured for name in ("background", "adipose", "dense", "pectoral"))
        assert parts == 64 * 64


def test_what_was_kept_under_other_settings_is_done_anew(tmp_path: Path) -> None:
    results = Results(tmp_path)
    kept = result("local north", {"north": [image(0.5, 10, 12)]})
    results.keep(kept)

    assert results.find("local north", 1, settings_of(PLAN)) == kept
    assert results.find("local north", 2, settings_of(PLAN)) is None
    assert results.find("local north", 1, settings_of(PLAN.model_copy(update={"seed": 2}))) is None


def test_figures_are_those_worked_out_by_hand() -> None:
    arm = ArmResults.of(
        [
            result("fedavg", {"north": [image(0.4, 10, 10, "a"), image(0.6, 20, 30, "b")]}, fold=1),
            result("fedavg", {"south": [image(0.8, 30, 20)]}, fold=2),
        ]
    )

    assert arm.num_images == {"north": 2, "south": 1}
    assert arm.value(dice_of("dense")) == pytest.approx(0.6)
    assert arm.value(dice_of("dense"), "north") == pytest.approx(0.5)
    assert arm.by_fold(dice_of("dense")) == pytest.approx([0.5, 0.8])
    # Overlaps of 40, 150 and 200 pixels; 100, 200 and 300 measured, 100, 300 and 200 drawn.
    assert arm.value(pixel_dice_of("dense")) == pytest.approx(2 * 390 / 1200)
    # The other three classes agree wholly.
    assert arm.value(four_class_dice) == pytest.approx((3 + 0.6) / 4)
    assert arm.value(density_error) == pytest.approx((0 + 10 + 10) / 3)
    assert arm.value(density_bias) == pytest.approx(0)
    # Deviations -10, 0, 10 and -10, 10, 0: 100 over the root of 200 times 200.
    assert arm.value(density_correlation) == pytest.approx(0.5)


def test_an_interval_holds_its_figure_and_resamples_each_hospital_by_itself() -> None:
    south = [image(0.8, 30, 33, str(number)) for number in range(4)]
    north = [image(0.2, 10, 10, "a"), image(0.6, 20, 20, "b")]
    arm = ArmResults.of([result("fedavg", {"north": north, "south": south})])

    found = arm.figure(dice_of("dense"))

    # The south's four images are always there: means lie between (2 x 0.2 + 3.2) / 6 and (2 x 0.6 + 3.2) / 6.
    assert found.low == pytest.approx(0.6, abs=1e-3)
    assert found.high == pytest.approx(4.4 / 6, abs=1e-3)
    assert found.low < found.value < found.high


def test_two_models_are_compared_on_the_same_images() -> None:
    def arm(*dice: float) -> ArmResults:
        images = [image(one, 10, 10, str(number)) for number, one in enumerate(dice)]
        return ArmResults.of([result("one", {"north": images})])

    better, worse = arm(0.3, 0.6, 0.9), arm(0.2, 0.5, 0.8)

    gain = figure_of([better, worse], lambda here, there: dice_of("dense")(here) - dice_of("dense")(there))

    # Each image is better by the same, however much the images differ.
    assert (gain.low, gain.value, gain.high) == pytest.approx((0.1, 0.1, 0.1))


def arm_of(name: str, dice: float) -> list[Result]:
    """Two folds: three images of the north, the first of the first fold, and one of the south."""
    north = [image(dice, density, density, f"north-{density}") for density in (40, 50, 60)]
    first = result(name, {"north": north[:1], "south": []}, 1)
    return [first, result(name, {"north": north[1:], "south": [image(dice, 30, 30, "south")]}, 2)]


RESULTS = [
    *arm_of("pooled", 0.75),
    *arm_of("local north", 0.6),
    *arm_of("local south", 0.5),
    *arm_of("fedavg", 0.72),
    *arm_of("fedprox", 0.7)[:1],
]


def test_the_page_compares_what_is_whole_and_leaves_out_an_arm_that_lacks_a_fold() -> None:
    study = Study.of(RESULTS, PLAN, num_folds=2, chosen_on=())
    written = page(study, "small.png")

    assert "fedprox" not in written
    assert "Aims" not in written
    # Own models have 0.6 at three images and 0.5 at one, the others' 0.5 and 0.6; pooled has 0.75.
    assert "| all | 0.575 | 0.525 | +0.145 (" in written
    assert "| north | 0.600 | 0.500 | +0.120 (+0.120 to +0.120) |" in written
    assert (
        "- fedavg: +25.2 % over own models, +37.1 % over others'; 0.960 (0.960 to 0.960) of pooled" in written
    )
    assert behind_foreign(study) == []


def test_a_federation_that_is_no_better_than_others_models_is_told() -> None:
    results = [*arm_of("local north", 0.6), *arm_of("local south", 0.7), *arm_of("fedavg", 0.65)]

    assert behind_foreign(Study.of(results, PLAN, num_folds=2, chosen_on=())) == ["fedavg"]


def test_aims_are_told_for_all_images_and_for_those_on_which_nothing_was_chosen() -> None:
    study = Study.of(RESULTS, PLAN, num_folds=2, chosen_on=["north-40", "north-50"])

    assert study.untouched["fedavg"].num_images == {"north": 1, "south": 1}
    written = page(study, "small.png")
    assert "The 2 images on which nothing was chosen" in written
    assert "| dense Dice | 0.720 < 0.820: missed | 0.720 < 0.820: missed |" in written
    judged = {aim.words: aim.is_met for aim in aims_of(study.arms, "fedavg")}
    assert judged["dense Dice"] is False
    assert judged["dense Dice as a share of pooled"] is False
    assert judged["breast Dice"] is True
    assert judged["dense Dice of fedavg at south, beside its own model's"] is True
