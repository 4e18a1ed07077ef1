"""Handing out published models."""

from __future__ import annotations

import time
from pathlib import Path

from server.coordinator import Coordinator
from shared.audit.events import ModelDownloaded
from shared.errors import StoreError
from shared.files import PUBLIC_FILE, write_file
from shared.package import VerifiedPackage, verify_package


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
