"""Gradient inversion tried on what hospitals send: the harshest case there is, one picture and one step.

A hospital that sends an update of one picture is refused by every policy (`data.min_examples`); an attack
that fails on it fails on more. Two kinds of weights are tried. *Drawn* ones are those that every run begins
with. *Crafted* ones are what a hostile coordinator sends in their place: the offsets of all norms are so
large that no activation bends, so that the network, and with it what is sent, follows the picture smoothly
(weights made to leak are an idea of Fowl et al., ICLR 2022, and Boenisch et al., IEEE EuroS&P 2023; these are
the auditor's).

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.learning import PatientExample
from bench.privacy_audit.inversion import Descent, invert, similarity, smooth_sign, tissue_guess
from bench.privacy_audit.material import Material
from bench.privacy_audit.releases import grid_of_first_round, released, typical_norm
from bench.privacy_audit.settings import PLAIN, Setting
from bench.privacy_audit.sites import Round, fit
from client.imaging.example import Label
from client.training.dataset import Batch
from shared.model import Weights, initial_model, model_around
from shared.model.losses import MultitaskLoss
from shared.model.sent import norm_names
from shared.model.weights import weights_of
from shared.plan import Plan

CRAFTED_OFFSET = 4.0
"""In standard deviations of what a norm lets through: hardly any value is so far below the mean."""

Start = Literal["drawn", "crafted"]
Sent = Literal["gradient", "update"]
Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is attacked: which weights the round starts from, what is sent, and how it is protected.

    Attributes
    ----------
    sent
        The bare gradient of the textbook, which no site sends, or the update that a site sends.
    """

    start: Start
    sent: Sent
    setting: Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionRow:
    """How like the original the reconstructions of a trial are, over all targets.

    Attributes
    ----------
    similarity, guess_similarity
        Mean SSIM in the breast, of the reconstructions and of what the attacker would draw without an update.
    gain
        The least and the greatest difference of the two, over targets.
    pictures
        Of the first target: original, guess, reconstruction, each float32 HW in [0, 1].
    """

    trial: Trial
    similarity: float
    guess_similarity: float
    gain: tuple[float, float]
    pictures: tuple[Image, Image, Image]


def trials_of(settings: Sequence[Setting]) -> list[Trial]:
    """The textbook's attack first, then what sites send; sums and noise against the sharpest attack alone."""
    plain = Setting(num_sites=PLAIN)
    return [
        Trial(start="drawn", sent="gradient", setting=plain),
        Trial(start="drawn", sent="update", setting=plain),
        Trial(start="crafted", sent="gradient", setting=plain),
        *(Trial(start="crafted", sent="update", setting=setting) for setting in settings),
    ]


def crafted(weights: Weights, plan: Plan) -> Weights:
    """The same weights with large offsets in all norms."""
    offsets = {name for name in norm_names(model_around(weights, plan.model)) if name.endswith(".bias")}
    return {
        name: torch.full_like(tensor, CRAFTED_OFFSET) if name in offsets else tensor
        for name, tensor in weights.items()
    }


def gradients(weights: Weights, batch: Batch, plan: Plan) -> Callable[[Tensor], list[list[Tensor]]]:
    """From guessed pictures N1HW to the gradients of each alone, tensors by name; can be descended again."""
    model = model_around(weights, plan.model).train()
    learnt = [weight.requires_grad_() for _, weight in sorted(model.named_parameters())]
    loss = MultitaskLoss(plan.model.loss)
    targets = [_some(batch, slice(place, place + 1)).targets() for place in range(len(batch.band_N))]

    def of(picture_N1HW: Tensor) -> list[list[Tensor]]:
        return [
            list(
                torch.autograd.grad(
                    loss(model(one_1CHW), target).objective, learnt, create_graph=picture_N1HW.requires_grad
                )
            )
            for one_1CHW, target in zip(torch.split(picture_N1HW, 1), targets, strict=True)
        ]

    return of


def attack_pictures(
    material: Material,
    plan: Plan,
    trials: Sequence[Trial],
    *,
    descent: Descent,
    num_targets: int,
    num_joint: int,
    on_step: Callable[[str], None],
    seed: int,
) -> list[InversionRow]:
    """Try to get the targets' pictures back in each trial.

    Parameters
    ----------
    plan
        With one picture in a batch, one epoch and no augmentation, as a hostile coordinator would have it.
    num_targets
        Pictures that are attacked, each by itself.
    num_joint
        Of a sum, so many hospitals' pictures are looked for together at most.
    """
    drawn = weights_of(initial_model(plan))
    starts: dict[Start, Weights] = {"drawn": drawn, "crafted": crafted(drawn, plan)}
    most = max(trial.setting.num_sites for trial in trials)
    step = len(material.attacked) // num_targets
    companies = [_company(material, step * number, most) for number in range(num_targets)]
    rows = []
    for start, weights in starts.items():
        on_step(f"inversion: {start} weights, {num_targets} x {most} updates")
        round_ = Round(plan=plan, base=weights)
        attacks = [
            _Attack.on(company, material, round_, num_joint=num_joint, seed=seed) for company in companies
        ]
        for trial in (each for each in trials if each.start == start):
            on_step(f"inversion: {start} weights, {trial.sent}, {trial.setting.words}")
            rows.append(_row(trial, attacks, [attack.invert(trial, descent) for attack in attacks]))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attack:
    """One target among hospitals of one picture each, from one start.

    Attributes
    ----------
    batch, guess_N1HW
        Of the first hospitals, the target's before all.
    updates
        Of all hospitals.
    """

    round_: Round
    batch: Batch
    guess_N1HW: Tensor
    updates: Sequence[Weights]
    seed: int

    @classmethod
    def on(
        cls,
        company: Sequence[PatientExample],
        material: Material,
        round_: Round,
        *,
        num_joint: int,
        seed: int,
    ) -> _Attack:
        """With the updates that the hospitals send."""
        batch = fit(company[:num_joint], round_.plan).batch(range(min(len(company), num_joint)))
        known = fit(material.attackers, round_.plan).batch(range(len(material.attackers)))
        guess_N1HW = tissue_guess(batch.labels_NHW, known.image_NCHW, known.labels_NHW)
        return cls(
            round_=round_,
            batch=batch,
            guess_N1HW=guess_N1HW * _inside(batch),
            updates=[round_.update([picture], seed=seed + number) for number, picture in enumerate(company)],
            seed=seed,
        )

    def invert(self, trial: Trial, descent: Descent) -> Tensor:
        """The target's picture as it is got back, 1HW."""
        num_joint = min(trial.setting.num_sites, len(self.guess_N1HW))
        batch = _some(self.batch, slice(num_joint))
        gradients_of = gradients(self.round_.base, batch, self.round_.plan)

        def one(picture_N1HW: Tensor) -> Sequence[Tensor]:
            return gradients_of(picture_N1HW)[0]

        def steps(picture_N1HW: Tensor) -> Sequence[Tensor]:
            each = [smooth_sign(of_one) for of_one in gradients_of(picture_N1HW)]
            return [torch.stack(tensors).sum(dim=0) for tensors in zip(*each, strict=True)]

        bare = trial.sent == "gradient"
        found_N1HW = invert(
            one(batch.image_NCHW) if bare else self._seen(trial.setting),
            one if bare else steps,
            self.guess_N1HW[:num_joint],
            _inside(batch),
            descent=descent,
        )
        return found_N1HW[0]

    def _seen(self, setting: Setting) -> Sequence[Tensor]:
        """What the coordinator holds, turned round: a step goes against its gradient."""
        updates = self.updates[: setting.num_sites]
        grid = grid_of_first_round(self.round_.base, share=1 / len(updates))
        mean = released(updates, setting, grid, clip_norm=typical_norm(updates), seed=self.seed)
        return [-mean[name] for name in sorted(mean)]


def _row(trial: Trial, attacks: Sequence[_Attack], found: Sequence[Tensor]) -> InversionRow:
    likenesses, guessed, pictures = [], [], []
    for attack, got_1HW in zip(attacks, found, strict=True):
        original_1HW, guess_1HW = attack.batch.image_NCHW[0], attack.guess_N1HW[0]
        inside_N1HW = _inside(attack.batch)[:1]
        likenesses += similarity(got_1HW[None], original_1HW[None], inside_N1HW)
        guessed += similarity(guess_1HW[None], original_1HW[None], inside_N1HW)
        pictures.append(tuple(each[0].numpy() for each in (original_1HW, guess_1HW, got_1HW)))
    gains = [like - guess for like, guess in zip(likenesses, guessed, strict=True)]
    return InversionRow(
        trial=trial,
        similarity=fmean(likenesses),
        guess_similarity=fmean(guessed),
        gain=(min(gains), max(gains)),
        pictures=pictures[0],  # type: ignore[arg-type]
    )


def _inside(batch: Batch) -> Tensor:
    return (batch.labels_NHW != Label.BACKGROUND)[:, None].float()


def _company(material: Material, target: int, num_sites: int) -> list[PatientExample]:
    """The target's picture and one of another hospital each, as often as there are so few."""
    others = [*material.attacked[target + 1 :], *material.attacked[:target]]
    return [material.attacked[target], *islice(cycle(others), num_sites - 1)]


def _some(batch: Batch, chosen: slice) -> Batch:
    return Batch(
        image_NCHW=batch.image_NCHW[chosen], labels_NHW=batch.labels_NHW[chosen], band_N=batch.band_N[chosen]
    )
