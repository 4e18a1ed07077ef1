"""Training under noise: no patient moves a step by more than the plan says; chance hides who was there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn

from client.training import noisy_stepping
from client.training.dataset import Batch, FittedDataset
from client.training.micro_batches import MicroBatches
from client.training.noisy_stepping import NoisyStepper
from client.training.noisy_training import train_with_noise
from client.training.trainer import Step
from shared.chance import chance_of
from shared.errors import StoppedError
from shared.model import initial_model
from shared.model.networks import NETWORKS
from shared.model.weights import to_bytes, weights_of
from shared.plan import ModelPlan, NetworkName, PatientNoisePlan, Plan, PrivacyPlan, RoundsPlan, TrainingPlan
from tests.unit.client.training.test_trainer import _dataset

CPU = torch.device("cpu")
NO_NOISE = 1e-9
"""A multiplier that no plan may have: what is left is the arithmetic."""


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_stepping, "convolution_dtype", lambda _device: torch.float32)


def plan_with(multiplier: float, *, gradient_norm: float = 1.0, **training: object) -> Plan:
    noise = PatientNoisePlan.model_construct(multiplier=multiplier, gradient_norm=gradient_norm, delta=1e-5)
    return Plan(
        name="noisy",
        metrics=(),
        rounds=RoundsPlan(count=1),
        model=ModelPlan(size="tiny", input_height_px=96, input_width_px=64),
        training=TrainingPlan.model_validate({"batch_size": 2, "learning_rate": 3e-3, **training}),
    ).model_copy(update={"privacy": PrivacyPlan.model_construct(patient_noise=noise)})


def noise_of(plan: Plan) -> PatientNoisePlan:
    assert plan.privacy.patient_noise is not None
    return plan.privacy.patient_noise


def gradients_of_a_step(
    plan: Plan, patients: Sequence[Batch], *, model: nn.Module | None = None, chance: Generator | None = None
) -> dict[str, Tensor]:
    """What the optimiser sees of a step."""
    model = (model or initial_model(plan)).train()
    seen: dict[str, Tensor] = {}

    def note(model: nn.Module) -> None:
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            seen[name] = weight.grad.clone()

    stepper = NoisyStepper(
        model,
        plan,
        noise_of(plan),
        CPU,
        correct=note,
        micro_batches=MicroBatches(CPU),
        chance=chance or chance_of(0),
    )
    stepper.step(patients, 1e-3)
    return seen


def length(gradients: dict[str, Tensor]) -> float:
    return float(torch.cat([each.flatten() for each in gradients.values()]).norm())


def batch_of(*seeds: int) -> Batch:
    return _dataset(*seeds).batch(range(len(seeds)))


def test_the_sum_of_a_step_is_that_of_each_patients_shortened_gradient() -> None:
    """By hand: each patient's own gradient, cut to the bound, over the batch size."""
    plan = plan_with(NO_NOISE, gradient_norm=0.05)
    first, second = batch_of(0, 1), batch_of(2)

    together = gradients_of_a_step(plan, [first, second])

    alone = [gradients_of_a_step(plan, [each]) for each in (first, second)]
    unbounded = [
        gradients_of_a_step(plan_with(NO_NOISE, gradient_norm=1e3), [each]) for each in (first, second)
    ]
    for one, whole in zip(alone, unbounded, strict=True):
        assert length(one) == pytest.approx(0.05 / plan.training.batch_size, rel=1e-3)
        shrink = 0.05 / (plan.training.batch_size * length(whole))
        for name in one:
            torch.testing.assert_close(one[name], whole[name] * shrink, rtol=1e-3, atol=1e-7)
    for name in together:
        torch.testing.assert_close(together[name], alone[0][name] + alone[1][name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_leakage_between_patients_no_patient_changes_anothers_part_whatever_the_network(
    network: NetworkName,
) -> None:
    """A loss over the batch, or a norm over it, would couple them, and the bound would bound nothing."""
    plan = plan_with(NO_NOISE, gradient_norm=0.1)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"network": network})})
    one, other, third = batch_of(0), batch_of(1), batch_of(2)

    beside_other = gradients_of_a_step(plan, [one, other])
    without_one = gradients_of_a_step(plan, [other])
    beside_third = gradients_of_a_step(plan, [one, third])
    without_one_again = gradients_of_a_step(plan, [third])

    for name in beside_other:
        torch.testing.assert_close(
            beside_other[name] - without_one[name],
            beside_third[name] - without_one_again[name],
            rtol=1e-2,
            atol=1e-6,
        )
    part = {name: beside_other[name] - without_one[name] for name in beside_other}
    assert length(part) <= 0.1 / plan.training.batch_size * 1.001


def test_noise_has_the_plans_length_also_where_nobody_was_drawn() -> None:
    plan = plan_with(2.0, gradient_norm=0.5)

    noise = gradients_of_a_step(plan, [])

    drawn = np.concatenate([each.flatten().numpy() for each in noise.values()])
    assert drawn.std() == pytest.approx(2.0 * 0.5 / plan.training.batch_size, rel=0.01)
    assert abs(drawn.mean()) < 0.01


def test_a_patient_whose_gradient_is_not_finite_counts_as_one_who_was_not_drawn() -> None:
    plan = plan_with(1.0)
    spoiled = batch_of(1)
    spoiled.image_NCHW[0, 0, 10, 10] = torch.inf

    with_it = gradients_of_a_step(plan, [batch_of(0), spoiled])
    without = gradients_of_a_step(plan, [batch_of(0)])

    for name in without:
        torch.testing.assert_close(with_it[name], without[name])


def test_a_step_is_the_same_where_memory_holds_a_single_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short of memory it is taken image by image: one patient's images are still one loss."""
    plan, patient = plan_with(NO_NOISE), batch_of(0, 1, 2)
    whole = gradients_of_a_step(plan, [patient])
    forward = noisy_stepping.forward

    def hold_one(model: nn.Module, image_NCHW: Tensor, *, size: int, dtype: torch.dtype) -> object:
        if size > 1:
            raise torch.OutOfMemoryError
        return forward(model, image_NCHW, size=size, dtype=dtype)

    monkeypatch.setattr(noisy_stepping, "forward", hold_one)

    in_parts = gradients_of_a_step(plan, [patient])

    for name in whole:
        torch.testing.assert_close(in_parts[name], whole[name], rtol=1e-3, atol=1e-6)


class Rounds:
    """Trains from the same weights."""

    def __init__(self, plan: Plan, patients: Sequence[Sequence[int]], *seeds: int) -> None:
        self.plan, self.patients, self.dataset = plan, patients, _dataset(*seeds)

    def train(
        self,
        chance: Generator | None = None,
        *,
        on_step: Callable[[Step], None] = lambda _step: None,
        should_stop: Callable[[], bool] = lambda: False,
        dataset: FittedDataset | None = None,
    ) -> bytes:
        model = initial_model(self.plan)
        result = train_with_noise(
            model,
            dataset or self.dataset,
            self.patients,
            self.plan,
            noise_of(self.plan),
            round_number=1,
            device=CPU,
            on_step=on_step,
            should_stop=should_stop,
            correct=lambda _model: None,
            micro_batches=MicroBatches(CPU),
            chance=chance,
        )
        assert result.num_examples == len(self.dataset)
        return to_bytes(weights_of(model))


def test_guessing_the_seed_a_round_computed_again_draws_other_noise() -> None:
    """The coordinator knows the plan's seed and every id; none of it gives the noise."""
    rounds = Rounds(plan_with(1.0), [[0, 1], [2]], 0, 1, 2)

    assert rounds.train() != rounds.train()
    assert rounds.train(chance_of(0)) == rounds.train(chance_of(0))


def test_patients_are_drawn_one_by_one_and_all_their_images_come_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[list[int]] = []
    dataset = _dataset(*range(4))
    windows = dataset.windows

    def note(indices: Sequence[int], generator: torch.Generator) -> Batch:
        drawn.append(list(indices))
        return windows(indices, generator)

    monkeypatch.setattr(dataset, "windows", note)
    rounds = Rounds(plan_with(1.0, batch_size=1, local_epochs=20), [[0, 2], [1], [3]], 0, 1, 2, 3)
    steps: list[Step] = []

    rounds.train(chance_of(0), on_step=steps.append, dataset=dataset)

    assert len(steps) == steps[-1].num_steps == 60
    assert {tuple(each) for each in drawn} == {(0, 2), (1,), (3,)}
    # Each by a chance of one third in each of 60 steps: 60 in all, give or take 13.
    assert 40 < len(drawn) < 80
    assert any(step.loss is None for step in steps)


def test_training_under_little_noise_learns() -> None:
    losses: list[float] = []
    plan = plan_with(0.1, gradient_norm=0.5, batch_size=3, local_epochs=25, learning_rate=1e-2, augment=False)
    rounds = Rounds(plan, [[0], [1], [2]], 0, 1, 2)

    rounds.train(chance_of(0), on_step=lambda step: losses.append(step.loss or 0.0))

    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_stop_is_asked_for_before_every_step() -> None:
    steps: list[Step] = []
    rounds = Rounds(plan_with(1.0, local_epochs=5), [[0], [1]], 0, 1)

    with pytest.raises(StoppedError):
        rounds.train(on_step=steps.append, should_stop=lambda: len(steps) == 2)

    assert len(steps) == 2
