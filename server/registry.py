"""The life of a published model: handed out, released by two persons, revoked by one."""

from __future__ import annotations

import time
from pathlib import Path

from server.coordinator import Coordinator
from server.store.models import Model, Release
from shared.audit.events import ModelDownloaded
from shared.consent.records import is_plain
from shared.errors import ConfigError, StoreError
from shared.files import PUBLIC_FILE, write_file
from shared.package import VerifiedPackage, verify_package
from shared.records import MAX_REASON_CHARACTERS


def release(coordinator: Coordinator, model_id: str, *, actor: str) -> Release:
    """Say that a model may be used in the clinic; it is, once two persons have said so.

    Raises as `Models.release`.
    """
    return coordinator.models.release(model_id, actor=actor, at=time.time())


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
    files = coordinator.models.files(coordinator.models.get(model_id).model_id)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise StoreError("The output folder exists already.", "Give a folder that does not.") from error
    except OSError as error:
        raise StoreError(
            f"The output folder cannot be made: {error.strerror}.", "Give another one."
        ) from error
    for file in files:
        write_file(
            folder / file.name, coordinator.blobs.path(file.blob.digest).read_bytes(), mode=PUBLIC_FILE
        )
    package = verify_package(folder, coordinator.anchors.signing_key, coordinator.anchors.retired_keys)
    event = ModelDownloaded(subject=model_id, manifest_sha256=package.manifest_sha256)
    coordinator.audit.append(event, actor=actor, at=time.time())
    return package
