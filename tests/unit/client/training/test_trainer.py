import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from client.evaluation.images import evaluate_images
from client.evaluation.statistics import Statistics
from client.imaging.example import Example, Label
from client.training.dataset import Batch, FittedDataset
from client.training.trainer import MAX_LEFT_OUT, Step, train
from shared.errors import NonFiniteError, NotReadyError, StoppedError
from shared.evaluation.measures import figures
from shared.model import initial_model
from shared.model.density_band import UNKNOWN_BAND, DensityBandHead, band_loss
from shared.model.segmentation import segments_of
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan

CPU = torch.device("cpu")
PLAN = Plan(
    name="trainer",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="tiny", input_height_px=96, input_width_px=64),
    training=TrainingPlan(local_epochs=1, batch_size=4, learning_rate=3e-3),
)


def _example(seed: int) -> Example:
    """A half-disc of breast with a pectoral corner and a bright dense patch of random place and size."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:96j, 0:1:64j]
    labels_HW = np.where(rows**2 + columns**2 < 0.8, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    centre_row, centre_column = random.uniform(-0.2, 0.4), random.uniform(0.3, 0.5)
    dense_HW = (rows - centre_row) ** 2 + (columns - centre_column) ** 2 < random.uniform(0.03, 0.08)
    labels_HW[dense_HW & (labels_HW == Label.ADIPOSE)] = Label.DENSE
    labels_HW[(rows + columns < -0.5) & (labels_HW > 0)] = Label.PECTORAL
    brightness = np.array([0.0, 0.25, 0.6, 0.85])[labels_HW]
    noise = random.normal(0.0, 0.03, labels_HW.shape) * (labels_HW > 0)
    image_HW = (np.clip(brightness + noise, 0, 1) * 65535).astype(np.uint16)
    return Example(example_id=f"example-{seed}", image_HW=image_HW, labels_HW=labels_HW)


def _dataset(*seeds: int) -> FittedDataset:
    return FittedDataset([_example(seed) for seed in seeds], PLAN.model)


def _plan(**training) -> Plan:
    return PLAN.model_copy(update={"training": PLAN.training.model_copy(update=training)})


def _evaluate(model, dataset: FittedDataset, plan: Plan, device: torch.device) -> dict[str, float]:
    """Every measure, by name."""
    images = evaluate_images(model, dataset, plan, device)
    evaluation = Statistics(images=images).evaluation(["loss", "dice", "percent_density"])
    return {name: figure.value for name, figure in figures(evaluation).items()}


def _trained_bytes(seed: int) -> bytes:
    model = initial_model(PLAN)
    train(model, _dataset(1, 2, 3, 4, 5), PLAN, round_number=1, seed=seed, device=CPU)
    return to_bytes(weights_of(model))


def test_training_learns_to_segment_images_it_has_not_seen():
    plan = _plan(local_epochs=15)
    model, unseen = initial_model(plan), _dataset(101, 102, 103, 104, 105)
    before = _evaluate(model, unseen, plan, CPU)

    result = train(model, _dataset(*range(12)), plan, round_number=1, seed=0, device=CPU)

    after = _evaluate(model, unseen, plan, CPU)
    assert result.num_steps == 45
    assert result.num_examples == 12
    assert after["loss"] < before["loss"]
    assert after["dice_dense"] > 0.8 > before["dice_dense"]
    assert after["dice_breast"] > 0.9
    assert after["dice_pectoral"] > 0.8
    assert after["percent_density_error"] < 5.0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    assert _trained_bytes(5) == _trained_bytes(5)
    assert _trained_bytes(5) != _trained_bytes(6)


def test_every_step_is_told_and_the_mean_loss_is_that_of_the_steps():
    steps: list[Step] = []

    result = train(
        initial_model(PLAN),
        _dataset(1, 2, 3, 4, 5),
        _plan(local_epochs=2),
        round_number=1,
        seed=0,
        device=CPU,
        on_step=steps.append,
    )

    assert [(step.number, step.num_steps) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.loss == pytest.approx(sum(step.loss for step in steps) / 4)


def test_training_stops_when_told_to_and_takes_no_further_step():
    steps: list[Step] = []

    with pytest.raises(StoppedError):
        train(
            initial_model(PLAN),
            _dataset(1, 2, 3, 4, 5),
            _plan(local_epochs=3),
            round_number=1,
            seed=0,
            device=CPU,
            on_step=steps.append,
            should_stop=lambda: len(steps) == 2,
        )

    assert len(steps) == 2


def test_a_loss_that_is_not_finite_stops_before_the_step_is_taken():
    model = initial_model(PLAN)
    with torch.no_grad():
        model.segmenter.dense_decoder.head.bias.fill_(float("nan"))
    before = weights_of(model)

    with pytest.raises(NonFiniteError):
        train(model, _dataset(1, 2), PLAN, round_number=1, seed=0, device=CPU)

    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before if "dense_decoder.head" not in name)


def test_a_gradient_that_is_not_finite_stops_before_the_step_is_taken():
    model = initial_model(PLAN)
    model.segmenter.dense_decoder.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of(model)

    with pytest.raises(NonFiniteError):
        train(model, _dataset(1, 2), PLAN, round_number=1, seed=0, device=CPU)

    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_steps_that_are_left_out_are_counted_and_the_others_are_taken():
    model, steps = initial_model(PLAN), []

    def spoil_the_second(gradient):
        return gradient * float("nan") if len(steps) == 1 else gradient

    model.segmenter.dense_decoder.head.bias.register_hook(spoil_the_second)
    result = train(
        model,
        _dataset(1, 2, 3, 4, 5),
        _plan(local_epochs=2),
        round_number=1,
        seed=0,
        device=CPU,
        on_step=steps.append,
    )

    assert (result.num_steps, result.num_left_out) == (3, 1)
    assert [step.loss is None for step in steps] == [False, True, False, False]
    assert result.loss == pytest.approx(sum(step.loss for step in steps if step.loss is not None) / 3)


def test_so_many_steps_in_a_row_that_are_not_finite_end_the_round():
    model, steps = initial_model(PLAN), []
    model.segmenter.dense_decoder.head.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of(model)

    with pytest.raises(NonFiniteError):
        train(
            model,
            _dataset(1, 2),
            _plan(local_epochs=20),
            round_number=1,
            seed=0,
            device=CPU,
            on_step=steps.append,
        )

    assert len(steps) == MAX_LEFT_OUT
    assert all(torch.equal(before[name], after) for name, after in weights_of(model).items())


def test_what_is_reproducible_by_the_plan_is_so_and_the_mode_ends_with_the_round():
    def digest() -> str:
        model, plan = initial_model(PLAN), _plan(deterministic=True)
        train(model, _dataset(1, 2, 3, 4, 5), plan, round_number=1, seed=5, device=CPU)
        return hashlib.sha256(to_bytes(weights_of(model))).hexdigest()

    assert digest() == digest()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_site_without_examples_is_told_so():
    with pytest.raises(NotReadyError):
        FittedDataset([], PLAN.model)


def test_labels_become_the_two_tasks():
    dataset = _dataset(1)

    targets = dataset.batch([0]).targets()

    labels_NHW = dataset.batch([0]).labels_NHW
    background_NHW, breast_NHW, pectoral_NHW = targets.possible_NCHW.unbind(dim=1)
    assert torch.equal(background_NHW, labels_NHW == Label.BACKGROUND)
    assert torch.equal(breast_NHW, (labels_NHW == Label.ADIPOSE) | (labels_NHW == Label.DENSE))
    assert torch.equal(pectoral_NHW, labels_NHW == Label.PECTORAL)
    assert torch.equal(targets.dense_NHW, labels_NHW == Label.DENSE)
    assert targets.dense_known_NHW.all()


def _partial(example: Example, drawn: str) -> Example:
    """The same example with some of its labels left open."""
    assert example.labels_HW is not None
    opened = {
        "breast": {Label.ADIPOSE: Label.BREAST, Label.DENSE: Label.BREAST},
        "dense": dict.fromkeys((Label.BACKGROUND, Label.ADIPOSE, Label.PECTORAL), Label.NOT_DENSE),
        "two regions": {
            Label.BACKGROUND: Label.NOT_BREAST,
            Label.ADIPOSE: Label.ADIPOSE_OR_PECTORAL,
            Label.PECTORAL: Label.ADIPOSE_OR_PECTORAL,
        },
    }[drawn]
    table = np.array([opened.get(label, label) for label in Label], np.uint8)
    return Example(
        example_id=example.example_id, image_HW=example.image_HW, labels_HW=table[example.labels_HW]
    )


def test_labels_that_leave_something_open_become_targets_that_do():
    labels = [Label.BREAST, Label.BREAST_OR_PECTORAL, Label.ADIPOSE_OR_PECTORAL, Label.NOT_BREAST]
    labels += [Label.NOT_DENSE, Label.UNKNOWN]
    batch = Batch(
        image_NCHW=torch.zeros(1, 1, 1, 6),
        labels_NHW=torch.tensor([[labels]], dtype=torch.uint8),
        band_N=torch.tensor([UNKNOWN_BAND]),
    )

    targets = batch.targets()

    possible = targets.possible_NCHW[0, :, 0].T.int().tolist()  # background, breast, pectoral
    assert possible == [[0, 1, 0], [0, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]
    assert targets.dense_known_NHW[0, 0].tolist() == [False, False, True, True, True, False]
    assert not targets.dense_NHW.any()


def test_a_segment_that_a_mask_does_not_show_whole_is_not_measured_on_it():
    examples = [_partial(_example(1), "breast"), _partial(_example(2), "dense")]
    examples += [_partial(_example(3), "two regions"), _example(4)]

    images = evaluate_images(initial_model(PLAN), FittedDataset(examples, PLAN.model), PLAN, CPU)

    names = ("dice_breast", "dice_dense", "dice_pectoral", "percent_density_error")
    assert [[getattr(image, name) is not None for name in names] for image in images] == [
        [True, False, True, False],
        [False, True, False, False],
        [False, True, False, False],
        [True, True, True, True],
    ]


def _categorised(seed: int) -> Example:
    """An example whose reader knows but two categories: d above 13 % of dense tissue, else a."""
    example = _example(seed)
    assert example.labels_HW is not None
    pixels = np.bincount(example.labels_HW.ravel(), minlength=len(Label))
    percent = 100 * pixels[Label.DENSE] / (pixels[Label.DENSE] + pixels[Label.ADIPOSE])
    return replace(example, density="d" if percent > 13 else "a")


def test_categories_alone_teach_the_head_for_bands_and_leave_the_segments_to_masks():
    plan = _plan(local_epochs=10)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"density_band": "simulated"})})
    masked = [_categorised(seed) for seed in range(12)]
    alone = [replace(_categorised(seed), labels_HW=None) for seed in range(12, 36)]
    model = initial_model(plan)
    train(model, FittedDataset(masked, plan.model), plan, round_number=1, seed=0, device=CPU)
    segmented = _evaluate(model, _dataset(101, 102, 103), plan, CPU)
    before = {name: weight.clone() for name, weight in model.segmenter.named_parameters()}

    train(model, FittedDataset(alone, plan.model), plan, round_number=1, seed=0, device=CPU)

    # Weight decay alone moves what no gradient does.
    steps, rate = 60, plan.training.learning_rate * plan.training.weight_decay
    for name, weight in model.segmenter.named_parameters():
        torch.testing.assert_close(weight, before[name], rtol=steps * rate, atol=1e-7)
    after = _evaluate(model, _dataset(101, 102, 103), plan, CPU)
    assert after["dice_dense"] == pytest.approx(segmented["dice_dense"], abs=0.02)
    unseen = FittedDataset([_categorised(seed) for seed in range(200, 240)], plan.model)
    batch = unseen.batch(range(40))
    with torch.no_grad():
        logits = model.eval()(batch.image_NCHW)
        percents = segments_of(logits).percent_density()
        learnt, started = (
            band_loss(head(percents, logits["features"]), batch.band_N).item()
            for head in (model.band_head, DensityBandHead(128))
        )
    assert learnt < 0.6 * started


def test_masks_of_some_segments_each_teach_all_of_them_together():
    plan = _plan(local_epochs=15)
    kinds = ["breast", "dense", "two regions"]
    examples = [_partial(_example(seed), kinds[seed % 3]) for seed in range(12)]
    model = initial_model(plan)

    train(model, FittedDataset(examples, plan.model), plan, round_number=1, seed=0, device=CPU)

    after = _evaluate(model, _dataset(101, 102, 103, 104, 105), plan, CPU)
    assert after["dice_dense"] > 0.8
    assert after["dice_breast"] > 0.9
    assert after["dice_pectoral"] > 0.6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_cuda_lowers_the_loss():
    model = initial_model(PLAN)
    cuda = torch.device("cuda")
    before = _evaluate(model, _dataset(1, 2, 3, 4), PLAN, cuda)

    train(model, _dataset(1, 2, 3, 4), _plan(local_epochs=10), round_number=1, seed=0, device=cuda)

    assert _evaluate(model, _dataset(1, 2, 3, 4), PLAN, cuda)["loss"] < before["loss"]
