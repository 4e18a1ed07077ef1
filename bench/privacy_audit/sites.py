"""What hospitals that are simulated do in a round: exactly what the product's sites do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.learning import PatientExample
from client.evaluation.images import evaluate_images
from client.training.dataset import FittedDataset
from client.training.local_round import leave, train_round
from client.training.trainer import train
from shared.model import Weights, model_around
from shared.plan import Plan

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of a run: the weights that it starts from, and the plan that all hospitals follow."""

    plan: Plan
    base: Weights
    number: int = 1

    def update(self, pictures: Sequence[PatientExample], *, seed: int) -> Weights:
        """What a hospital with these pictures would send, before it is rounded."""
        fitted = fit(pictures, self.plan)
        local = train_round(
            self.base,
            self.plan,
            {},
            {},
            lambda model, _correct: train(
                model, fitted, self.plan, round_number=self.number, seed=seed, device=CPU, correct=leave
            ),
        )
        return local.update

    def moved(self, update: Weights) -> Weights:
        """The weights after an update."""
        return {name: tensor + update[name] for name, tensor in self.base.items()}


def fit(pictures: Sequence[PatientExample], plan: Plan) -> FittedDataset:
    """Pictures as the plan's network is shown them."""
    return FittedDataset((each.example for each in pictures), plan.model)


def losses(weights: Weights, fitted: FittedDataset, plan: Plan) -> list[float]:
    """The loss of each picture under some weights, as a site evaluates it."""
    found = evaluate_images(model_around(weights, plan.model), fitted, plan, CPU)
    return [float("nan") if image.loss is None else image.loss for image in found]
