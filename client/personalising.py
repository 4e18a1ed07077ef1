"""The final weights of a run with layers of this site's own, which stay here, where these do better here."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch

from client.store.personal_models import Outcome, PersonalModel, PersonalModels
from client.training.dataset import FittedDataset
from client.training.personalisation import TrainEpoch, personalise
from shared.errors import NonFiniteError, WeightsError
from shared.model import Weights
from shared.model.weights import check, to_bytes
from shared.plan import Plan
from shared.records import Occasion

log = logging.getLogger(__name__)

MIN_IMAGES = 5
"""Of the training part and of the validation part: of fewer, the better epoch is a matter of luck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a personal model is made from.

    Attributes
    ----------
    training, validation
        The parts, noted as used by the run; None for an empty one.
    fingerprint
        Of both.
    num_removals
        How often anybody had been taken out before they were read.
    """

    training: FittedDataset | None
    validation: FittedDataset | None
    fingerprint: str
    num_removals: int

    @property
    def is_enough(self) -> bool:
        """Whether layers can be learnt from it, and an epoch chosen by it."""
        parts = (self.training, self.validation)
        return all(part is not None and len(part) >= MIN_IMAGES for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Personaliser:
    """Makes the personal models of a site, once for each run."""

    kept: PersonalModels
    device: torch.device

    def own_weights(
        self,
        final: Weights,
        own: Weights,
        plan: Plan,
        occasion: Occasion,
        material: Material,
        train_epoch: TrainEpoch,
    ) -> Weights | None:
        """The final weights with this site's own layers in them; None if it keeps them as they are.

        What was made before of the same weights, from the same examples, is taken again.

        Parameters
        ----------
        final
            Of the run, whose digest the occasion has.
        own
            The same with what the site has of its own from the rounds (fedbn).
        train_epoch
            See `personalise`.

        Raises
        ------
        StoreError
            The database refuses, or what was kept is damaged.
        StoppedError
            `train_epoch` was stopped.
        """
        found = self.kept.of_run(occasion.run_id)
        if (
            found is None
            or found.weights_sha256 != occasion.base_digest
            or found.data != material.fingerprint
        ):
            found = self._make(final, own, plan, occasion, material, train_epoch)
            if not self.kept.keep(found, num_removals=material.num_removals):
                log.warning("somebody was taken out of the data meanwhile: the personal model is not kept")
                return None
            log.info("%s personal model: %s, epoch %d", occasion.run_id, found.outcome.value, found.epoch)
        return None if found.layers is None else with_layers(final, found.layers)

    def _make(
        self,
        final: Weights,
        own: Weights,
        plan: Plan,
        occasion: Occasion,
        material: Material,
        train_epoch: TrainEpoch,
    ) -> PersonalModel:
        outcome, epoch, before, after = Outcome.OWN_LAYERS, 0, None, None
        if plan.personalisation.layers == "none":
            pass  # what it has of its own is of the rounds
        elif not material.is_enough:
            outcome = Outcome.TOO_FEW_IMAGES
        else:
            try:
                personal = personalise(
                    own, plan, train_epoch, validation=material.validation, device=self.device
                )
            except NonFiniteError:
                outcome = Outcome.ASTRAY
            else:
                own, epoch = personal.in_place_of(own), personal.epoch
                outcome = Outcome.OWN_LAYERS if epoch else Outcome.NOT_BETTER
                if personal.agreements:
                    before, after = personal.agreements[0], personal.agreements[epoch]
        layers = {name: tensor for name, tensor in own.items() if not torch.equal(tensor, final[name])}
        return PersonalModel(
            run_id=occasion.run_id,
            weights_sha256=occasion.base_digest,
            data=material.fingerprint,
            at=time.time(),
            outcome=outcome,
            epoch=epoch,
            before=before,
            after=after,
            layers=to_bytes(layers) if layers else None,
        )


def with_layers(weights: Weights, layers: bytes) -> Weights:
    """Weights with other layers in the place of some of theirs.

    Parameters
    ----------
    layers
        safetensors, some of the tensors of such weights.

    Raises
    ------
    WeightsError, NonFiniteError
        They are none of these weights, or hold a value that is not finite.
    """
    try:
        own = safetensors.torch.load(layers)
    except safetensors.SafetensorError as error:
        raise WeightsError("The personal layers cannot be read.", "Use the published model.") from error
    mixed = {**weights, **own}
    check(mixed, like=weights)
    return mixed
