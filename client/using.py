"""Using a published model at the site: verified first, results written only when all are known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from client.home import SiteHome
from client.imaging.overlay import encode_png
from client.inference.reading import ImageFile, ReadImage, read_file
from client.inference.segment import LoadedModel, Segmentation, segment_image
from client.intake.candidates import Progress, Refusal
from client.intake.exclusions import Reason
from client.intake.workers import Failure, Workers
from client.published import require_not_revoked, require_supplements
from client.store.models import Models
from client.store.opening import open_site_store
from client.training.device import choose_device
from shared.audit.events import ModelUsed
from shared.errors import ConfigError, IntakeError, NotFoundError, StoreError
from shared.files import write_file
from shared.model import Weights, blank_model, model_around
from shared.model.weights import from_bytes
from shared.package import VerifiedPackage, verify_package


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableModel:
    """A verified model, ready to segment."""

    package: VerifiedPackage
    loaded: LoadedModel

    def used(self, *, num_images: int) -> ModelUsed:
        """What the audit log has of its use: numbers alone."""
        return ModelUsed(
            subject=self.package.manifest.model_id,
            manifest_sha256=self.package.manifest_sha256,
            num_images=num_images,
            has_own_layers=self.loaded.has_own_layers,
        )


def load_model(home: SiteHome, folder: Path, *, flips: bool = False, personal: bool = False) -> UsableModel:
    """Verify a downloaded model against this site's coordinator and load it.

    Parameters
    ----------
    flips
        See each image upside down as well, and average.
    personal
        With the layers that this site has made its own after the model's run, if it has kept any.

    Raises
    ------
    HomeError
        The site has not joined, so that it trusts nobody's models.
    TamperedError, TrustError, NotFoundError
        See `shared.package.verify_package`; a supplement is missing that the coordinator has signed for it;
        or this site has made nothing of these weights for itself.
    ModelRevokedError
        The coordinator has revoked it, as far as this site has heard.
    StoreError
        What it has made is damaged.
    ConfigError
        The model was not trained on images upside down.
    """
    anchors = home.membership().anchors
    package = verify_package(folder, anchors.signing_key, anchors.retired_keys)
    models = Models(open_site_store(home.folder))
    require_not_revoked(models, package.manifest_sha256)
    require_supplements(models, package)
    plan = package.plan.model
    if flips and not package.plan.training.flip:
        raise ConfigError(
            "The model was not trained on images upside down, and would do worse on them.",
            "Leave out --flips, or train a model under a plan with `training.flip`.",
        )
    weights = from_bytes(package.weights, like=blank_model(plan).state_dict())
    own = _with_own_layers(weights, home, package) if personal else None
    network = model_around(weights if own is None else own, plan)
    network.to(choose_device(home.settings().device)).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loaded = LoadedModel(
        network=network,
        plan=plan,
        model_id=package.manifest.model_id,
        reference=package.reference,
        has_own_layers=own is not None,
        calibration=package.band_calibration,
        flips=flips,
    )
    return UsableModel(package=package, loaded=loaded)


def _with_own_layers(weights: Weights, home: SiteHome, package: VerifiedPackage) -> Weights | None:
    """With what this site has made of the model's very weights; None if it keeps them as they are."""
    # With these comes training, with all that it needs: only who asks for such layers waits for it.
    from client.personalising import with_layers
    from client.store.personal_models import PersonalModels

    made = PersonalModels(open_site_store(home.folder)).of_run(package.manifest.run_id)
    if made is None or made.weights_sha256 != hashlib.sha256(package.weights).hexdigest():
        raise NotFoundError(
            "This site has no model of its own for this one.",
            "It is made at the end of a run whose plan says so, and erased with the patients that it learnt "
            "from. Leave --personal out.",
        )
    return None if made.layers is None else with_layers(weights, made.layers)


def segment(model: UsableModel, image: ReadImage) -> Segmentation:
    """Segment an image; nothing is written. Raises as `client.inference.segment.segment_image`."""
    return segment_image(image, model.loaded)


def segment_all(
    model: UsableModel, images: Sequence[tuple[int, Path]], progress: Progress, *, workers: int = 0
) -> Iterator[tuple[int, Segmentation | Refusal]]:
    """Segment images by position, in their order; one that cannot be used is refused alone.

    Parameters
    ----------
    workers
        Processes that read and prepare; 0 for one per core.

    Raises
    ------
    ConfigError
        No process can be started here.
    """
    files = [ImageFile(position, path) for position, path in images]
    with Workers(read_file, number=workers) as reading:
        for done, (file, read) in enumerate(reading.map(files), start=1):
            yield file.position, _outcome(model, file.position, read)
            progress(done, len(files))


def _outcome(
    model: UsableModel, position: int, read: ReadImage | Refusal | Failure
) -> Segmentation | Refusal:
    if isinstance(read, Failure):
        return Refusal.of(position, Reason.UNDECODABLE)
    if isinstance(read, Refusal):
        return read
    try:
        return segment(model, read)
    except IntakeError as error:
        return Refusal.of_error(position, error)


def write_overlay(segmentation: Segmentation, file: Path) -> None:
    """Write the overlay picture.

    Raises
    ------
    StoreError
        The file exists already, or the disk refuses.
    """
    if file.exists():
        raise StoreError("The overlay's file exists already.", "Name another one with --overlay.")
    write_file(file, encode_png(segmentation.overlay()), mode=0o640)
