import numpy as np
import pytest
import torch

from client.evaluation.images import evaluate_images
from client.imaging.example import Example, Label
from client.training.dataset import FittedDataset
from client.training.personalisation import agreement, personal_names, personalise
from client.training.trainer import train
from shared.errors import NonFiniteError, PlanError
from shared.model import blank_model, initial_model, model_around
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan, PersonalisationPlan, Plan, RoundsPlan, TrainingPlan

CPU = torch.device("cpu")
PLAN = Plan(
    name="personal",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    training=TrainingPlan(local_epochs=12, learning_rate=3e-3, augment=False),
    personalisation=PersonalisationPlan(layers="dense_decoder", epochs=4, learning_rate=3e-3),
)


def _example(seed: int, *, dense_above: float) -> Example:
    """A half-disc of breast that brightens to the right; a reader calls dense what is brighter than this."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:64j, 0:1:64j]
    inside_HW = rows**2 + columns**2 < 0.8
    brightness_HW = np.clip(0.2 + 0.6 * columns + random.normal(0, 0.02, rows.shape), 0.05, 1) * inside_HW
    labels_HW = np.where(inside_HW, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    labels_HW[inside_HW & (brightness_HW > dense_above)] = Label.DENSE
    image_HW = (brightness_HW * 65535).astype(np.uint16)
    return Example(example_id=f"example-{seed}", image_HW=image_HW, labels_HW=labels_HW)


def _dataset(*seeds: int, dense_above: float) -> FittedDataset:
    return FittedDataset([_example(seed, dense_above=dense_above) for seed in seeds], PLAN.model)


def _with(**personalisation) -> Plan:
    changed = PLAN.personalisation.model_copy(update=personalisation)
    return PLAN.model_copy(update={"personalisation": changed})


def _on(dataset: FittedDataset):
    return lambda model, plan, epoch: train(model, dataset, plan, round_number=epoch, seed=epoch, device=CPU)


@pytest.fixture(scope="module")
def final():
    """Weights that follow the federation's readers, who call dense what is brighter than 0.45."""
    model = initial_model(PLAN)
    train(model, _dataset(*range(8), dense_above=0.45), PLAN, round_number=1, seed=0, device=CPU)
    return weights_of(model)


@pytest.mark.parametrize(("layers", "rate"), [("norms", 0.1), ("dense_decoder", 3e-3)])
def test_a_site_that_reads_otherwise_than_the_federation_gains_on_images_it_has_not_seen(final, layers, rate):
    plan, here = _with(layers=layers, learning_rate=rate), {"dense_above": 0.6}
    unseen = _dataset(*range(200, 206), **here)

    personal = personalise(
        final, plan, _on(_dataset(*range(20, 28), **here)), validation=_dataset(100, 101, **here), device=CPU
    )

    def dice_dense(weights):
        images = evaluate_images(model_around(weights, plan.model), unseen, plan, CPU)
        return np.mean([image.dice_dense for image in images])

    assert personal.epoch > 0
    assert len(personal.agreements) == 1 + plan.personalisation.epochs
    assert personal.agreements[personal.epoch] == max(personal.agreements) > personal.agreements[0]
    assert dice_dense(personal.in_place_of(final)) > dice_dense(final) + 0.02


@pytest.mark.parametrize("layers", ["norms", "dense_decoder"])
def test_only_the_chosen_layers_change_and_the_given_weights_do_not(final, layers):
    before, plan = to_bytes(final), _with(layers=layers, epochs=1)
    dataset = _dataset(1, 2, 3, 4, dense_above=0.6)

    personal = personalise(final, plan, _on(dataset), validation=None, device=CPU)

    own = personal_names(blank_model(plan.model), layers)
    assert personal.layers.keys() == own
    assert all(not torch.equal(tensor, final[name]) for name, tensor in personal.layers.items())
    assert to_bytes(final) == before
    mixed = personal.in_place_of(final)
    assert mixed.keys() == final.keys()
    assert all(torch.equal(mixed[name], final[name]) for name in final.keys() - own)


def test_norms_are_those_of_every_layer_and_the_dense_decoder_is_one_of_two():
    network = blank_model(PLAN.model)
    norms, decoder = personal_names(network, "norms"), personal_names(network, "dense_decoder")

    assert personal_names(network, "none") == frozenset()
    assert norms and all(network.state_dict()[name].dim() == 1 for name in norms)
    assert decoder and not any("breast_decoder" in name or "encoder." in name for name in decoder - norms)
    assert 0 < sum(network.state_dict()[name].numel() for name in norms) < 5_000


def test_a_model_that_fine_tuning_makes_worse_on_the_validation_part_is_not_kept(final):
    elsewhere, here = _dataset(*range(4), dense_above=0.75), _dataset(100, 101, dense_above=0.45)

    personal = personalise(final, _with(epochs=2), _on(elsewhere), validation=here, device=CPU)

    assert max(personal.agreements[1:]) < personal.agreements[0]
    assert (personal.epoch, personal.layers) == (0, {})
    assert personal.in_place_of(final) == final


def test_without_a_validation_part_the_last_epoch_is_kept(final):
    epochs: list[int] = []
    on = _on(_dataset(1, 2, 3, 4, dense_above=0.6))

    def train_epoch(model, plan, epoch):
        epochs.append(epoch)
        return on(model, plan, epoch)

    personal = personalise(final, _with(epochs=3), train_epoch, validation=None, device=CPU)

    assert epochs == [1, 2, 3]
    assert (personal.epoch, personal.agreements) == (3, ())


def test_the_same_seed_gives_the_same_layers(final):
    dataset = _dataset(1, 2, 3, 4, dense_above=0.6)

    first, second = (
        to_bytes(personalise(final, _with(epochs=1), _on(dataset), validation=None, device=CPU).layers)
        for _ in range(2)
    )

    assert first == second


def test_the_rate_falls_over_the_epochs_from_the_plans_own_peak(final):
    plans: list[Plan] = []

    def note(_model, plan, _epoch):
        plans.append(plan)

    personalise(final, _with(epochs=3, learning_rate=1e-4), note, validation=None, device=CPU)

    assert {(plan.rounds.count, plan.training.local_epochs) for plan in plans} == {(3, 1)}
    assert {plan.training.learning_rate for plan in plans} == {1e-4}


def test_nothing_is_learnt_where_nobody_has_drawn_what_an_epoch_could_be_chosen_by(final):
    example = _example(100, dense_above=0.6)
    undrawn = np.full_like(example.labels_HW, Label.UNKNOWN)
    validation = FittedDataset(
        [Example(example_id="undrawn", image_HW=example.image_HW, labels_HW=undrawn)], PLAN.model
    )

    def never(_model, _plan, _epoch):
        raise AssertionError

    personal = personalise(final, PLAN, never, validation=validation, device=CPU)

    assert (personal.epoch, personal.layers, personal.agreements) == (0, {}, ())


def test_training_that_goes_astray_is_told_and_leaves_the_weights(final):
    before, dataset = to_bytes(final), _dataset(1, 2, 3, 4, dense_above=0.6)
    dataset._images[0].fill_(float("nan"))

    with pytest.raises(NonFiniteError):
        personalise(final, PLAN, _on(dataset), validation=None, device=CPU)

    assert to_bytes(final) == before


def test_agreement_is_the_mean_over_the_segments_that_are_known(final):
    images = evaluate_images(model_around(final, PLAN.model), _dataset(100, 101, dense_above=0.5), PLAN, CPU)

    means = [np.mean([getattr(image, f"dice_{name}") for image in images]) for name in ("dense", "breast")]

    assert agreement([]) is None
    assert [image.dice_pectoral for image in images] == [1.0, 1.0]
    assert agreement(images) == pytest.approx((sum(means) + 1.0) / 3)


def test_a_network_with_one_decoder_has_none_of_dense_tissue_to_make_ones_own():
    text = """
name = "one"
[rounds]
count = 1
[model]
network = "unet"
[personalisation]
layers = "{}"
"""
    assert Plan.from_toml(text.format("norms")).personalisation.layers == "norms"
    with pytest.raises(PlanError, match="one decoder for all tasks"):
        Plan.from_toml(text.format("dense_decoder"))
