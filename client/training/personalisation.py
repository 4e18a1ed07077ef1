"""The final model made a site's own: a few of its layers, fine-tuned on the site's examples, the rest frozen.

Either the normalisation layers, as FedBN keeps at a site (Li et al., ICLR 2021), or the decoder of dense
tissue, as FedRep keeps a site's own head beside a common representation (Collins et al., ICML 2021); the
fine-tuning comes once, after the last round. The epoch that does best on the site's validation part is
kept, and none if the model that it began with does as well, so that there a personal model is never worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import nn

from client.evaluation.images import ImageMetrics, evaluate_images
from client.training.dataset import FittedDataset
from client.training.trainer import TrainingResult
from shared.model import Weights, model_around
from shared.model.sent import norm_names
from shared.model.weights import weights_of
from shared.plan import PersonalLayers, Plan

DENSE_DECODER = "segmenter.dense_decoder."

TrainEpoch = Callable[[nn.Module, Plan, int], TrainingResult]
"""Trains a model in place under a plan for one round of it, by its number from 1; see `trainer.train`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What personalisation came to.

    Attributes
    ----------
    layers
        The site's own layers, by the names of their tensors; none where the model stays as it was.
    epoch
        After which they were kept; 0 is the model that it began with.
    agreements
        Of the model on the validation part, before the first epoch and after each; none without such a part,
        or if nobody has drawn a segment there. See `agreement`.
    """

    layers: Weights
    epoch: int
    agreements: tuple[float, ...]

    def in_place_of(self, weights: Weights) -> Weights:
        """The weights that it began with, and the site's own layers in them."""
        return {**weights, **self.layers}


def personal_names(network: nn.Module, layers: PersonalLayers) -> frozenset[str]:
    """Tensors of the network that become a site's own."""
    if layers == "norms":
        return norm_names(network)
    prefix = DENSE_DECODER if layers == "dense_decoder" else None
    return frozenset(name for name in network.state_dict() if prefix and name.startswith(prefix))


def personalise(
    weights: Weights,
    plan: Plan,
    train_epoch: TrainEpoch,
    *,
    validation: FittedDataset | None,
    device: torch.device,
) -> Personal:
    """Fine-tune the plan's personal layers, each epoch as one more round of training with all else frozen.

    Parameters
    ----------
    weights
        The final weights, of the federation or with what the site has of its own already; left unchanged.
    train_epoch
        Trains on the site's training part.
    validation
        What the epoch is chosen by; without it, the last one is kept.
    device
        Where the validation part is measured.

    Raises
    ------
    NonFiniteError
        Training went astray; the weights that it began with are as good as they were.
    StoppedError
        `train_epoch` was stopped.
    """
    model = model_around({name: tensor.clone() for name, tensor in weights.items()}, plan.model)
    own = personal_names(model, plan.personalisation.layers)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in own)
    kept, agreements = Personal(layers={}, epoch=0, agreements=()), list[float]()
    if validation is not None:
        before = agreement(evaluate_images(model, validation, plan, device))
        if before is None:
            return kept
        agreements.append(before)
    for epoch in range(1, plan.personalisation.epochs + 1):
        train_epoch(model, _fine_tuning(plan), epoch)
        if validation is not None:
            after = agreement(evaluate_images(model, validation, plan, device))
            assert after is not None  # of the same images as before
            agreements.append(after)
        if not agreements or agreements[-1] > agreements[kept.epoch]:
            layers = {name: tensor for name, tensor in weights_of(model).items() if name in own}
            kept = Personal(layers=layers, epoch=epoch, agreements=())
    return replace(kept, agreements=tuple(agreements))


def agreement(images: Sequence[ImageMetrics]) -> float | None:
    """The Dice with the expert's segments: its mean over the images that have one, then over the segments.

    None where nobody has drawn any.
    """
    of_segments = (
        [image.dice_dense for image in images],
        [image.dice_breast for image in images],
        [image.dice_pectoral for image in images],
    )
    known = [[dice for dice in of_segment if dice is not None] for of_segment in of_segments]
    means = [fmean(of_segment) for of_segment in known if of_segment]
    return fmean(means) if means else None


def _fine_tuning(plan: Plan) -> Plan:
    """The plan by which one epoch is trained."""
    rounds, training, personal = plan.rounds, plan.training, plan.personalisation
    return plan.model_copy(
        update={
            "rounds": rounds.model_copy(update={"count": personal.epochs}),
            "training": training.model_copy(
                update={"local_epochs": 1, "learning_rate": personal.learning_rate}
            ),
        }
    )
