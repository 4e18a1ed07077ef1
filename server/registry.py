"""The life of a published model: handed out, released by two persons, revoked by one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from server.coordinator import Coordinator
from server.store.models import Model, ModelFile, Release
from server.supplements import supplements_of
from shared.audit.events import ModelDownloaded
from shared.consent.records import is_plain
from shared.errors import ConfigError, StoreError, TamperedError
from shared.files import PUBLIC_FILE
from shared.package import MANIFEST, SIGNATURE, VerifiedPackage, verify_manifest, verify_package
from shared.plan import Plan
from shared.records import MAX_REASON_CHARACTERS
from shared.supplements import SupplementKind
from shared.transfer.blob_ref import BlobRef
from shared.untold import untold


def needs_of(coordinator: Coordinator, plan: Plan) -> frozenset[SupplementKind]:
    """Supplements without which no model of a plan is released: those of the settings that it can give."""
    return coordinator.release_needs - untold(plan).keys()


def release(coordinator: Coordinator, model_id: str, *, actor: str) -> Release:
    """Say that a model may be used in the clinic; it is, once two persons have said so.

    Raises as `Models.release`, and as `supplements_of`: what is damaged is not released.
    """
    model = coordinator.models.get(model_id)
    supplements_of(coordinator, model)
    needs = needs_of(coordinator, Plan.from_toml(coordinator.runs.get(model.run_id).plan_toml))
    return coordinator.models.release(model_id, needs=needs, actor=actor, at=time.time())


def revoke(coordinator: Coordinator, model_id: str, reason: str, *, actor: str) -> Model:
    """End a model: every site learns it at its next contact, and uses it for no image any more.

    Raises
    ------
    ConfigError
        The reason holds more than plain words, or none.
    NotFoundError, AggregationError
        See `Models.revoke`.
    """
    if not 0 < len(reason) <= MAX_REASON_CHARACTERS or not is_plain(reason):
        raise ConfigError(
            "The reason cannot be told to the sites as it is.",
            f"Use at most {MAX_REASON_CHARACTERS} characters of plain words.",
        )
    return coordinator.models.revoke(model_id, reason=reason, actor=actor, at=time.time())


def download(coordinator: Coordinator, model_id: str, folder: Path, *, actor: str) -> VerifiedPackage:
    """Write a model's files into a new folder and verify what was written.

    Raises
    ------
    NotFoundError
        No model has this id.
    StoreError
        The folder exists already or cannot be written.
    TamperedError
        A stored byte is not the one that was signed.
    """
    files = verified_files(coordinator, model_id)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise StoreError("The output folder exists already.", "Give a folder that does not.") from error
    except OSError as error:
        raise StoreError(
            f"The output folder cannot be made: {error.strerror}.", "Give another one."
        ) from error
    try:
        for file in files:
            shutil.copyfile(coordinator.blobs.path(file.blob.digest), folder / file.name)
            (folder / file.name).chmod(PUBLIC_FILE)
    except OSError as error:
        raise StoreError(f"A file cannot be written: {error.strerror}.", "Free disk space.") from error
    package = verify_package(folder, coordinator.anchors.signing_key, coordinator.anchors.retired_keys)
    note_download(coordinator, model_id, actor=actor)
    return package


def verified_files(coordinator: Coordinator, model_id: str) -> list[ModelFile]:
    """The files of a model after each was held against what was signed, block by block: none is in memory.

    1. the signature over the manifest, 2. each file that it names, 3. the supplements.

    Raises
    ------
    NotFoundError
        No model has this id, or a file is missing on the disk.
    TamperedError
        A stored byte is not the one that was signed.
    """
    model, anchors = coordinator.models.get(model_id), coordinator.anchors
    files = coordinator.models.files(model_id)
    blobs = {file.name: file.blob for file in files}
    # 1.
    manifest_bytes, signature = (
        coordinator.blobs.path(blobs[name].digest).read_bytes() for name in (MANIFEST, SIGNATURE)
    )
    manifest = verify_manifest(manifest_bytes, signature, anchors.signing_key, anchors.retired_keys)
    # 2.
    for file in manifest.files:
        signed = BlobRef(digest=file.sha256, size_bytes=file.size_bytes)
        try:
            coordinator.blobs.verify(signed)
        except TamperedError as error:
            raise _not_as_signed(file.name) from error
        if blobs.get(file.name) != signed:
            raise _not_as_signed(file.name)
    # 3.
    supplements_of(coordinator, model)
    return files


def note_download(coordinator: Coordinator, model_id: str, *, actor: str) -> None:
    """Write down who took a model, or a part of it."""
    model = coordinator.models.get(model_id)
    event = ModelDownloaded(subject=model_id, manifest_sha256=model.manifest_sha256)
    coordinator.audit.append(event, actor=actor, at=time.time())


def _not_as_signed(name: str) -> TamperedError:
    return TamperedError(
        f"The model's file '{name}' is not the one that was signed.",
        "Do not hand it out: check the disk, and restore the coordinator's backup.",
    )
