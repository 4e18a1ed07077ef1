"""A published model as a folder: signed manifest, weights, plan, model card.

The manifest names every file with its SHA-256; `manifest.sig` is the coordinator's signed envelope over the
manifest. `verify_package` is the only way to a `VerifiedPackage`, and what is read from one is what was
verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from shared.band_calibration import BandCalibration
from shared.errors import NotFoundError, PlanError, TamperedError, TrustError
from shared.plan import Plan
from shared.reference import Reference
from shared.tables import Table
from shared.trust.anchors import RetiredKey
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey

MANIFEST_TYPE = "application/vnd.mammofed.manifest+json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
WEIGHTS = "weights.safetensors"
PLAN = "plan.toml"
MODEL_CARD = "model_card.md"
METRICS = "metrics.json"
REFERENCE = "reference.json"
CURVES = "learning_curves.png"


class ManifestFile(Table):
    """One file by name and content."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Table):
    """What a package holds and where it comes from: the model's passport.

    Attributes
    ----------
    band_calibration
        Lets the model's density bands be called by the readers' word; None forbids it.
    """

    format: Literal[1] = 1
    model_id: str
    run_id: str
    plan_sha256: str
    coordinator: str
    created_at: str
    software: str
    band_calibration: BandCalibration | None = None
    files: list[ManifestFile]

    def to_bytes(self) -> bytes:
        """The JSON that is signed."""
        return (self.model_dump_json(indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPackage:
    """A package whose signature and digests were verified.

    Attributes
    ----------
    manifest
        Its manifest.
    manifest_sha256
        Hex SHA-256 of the manifest: the identity of the model.
    plan
        The plan it was trained under.
    weights
        safetensors bytes.
    reference
        What each image that the model is used on is judged by.
    """

    manifest: Manifest
    manifest_sha256: str
    plan: Plan
    weights: bytes
    reference: Reference


def verify_package(folder: Path, key: VerifyKey, retired: Sequence[RetiredKey] = ()) -> VerifiedPackage:
    """Verify a package: 1. the signature over the manifest, 2. each file's digest, 3. what it must hold.

    Parameters
    ----------
    key
        The coordinator's signing key.
    retired
        Its keys before, each good for what it signed until it was retired.

    Raises
    ------
    NotFoundError
        The folder holds no package, or a file of it is missing.
    TamperedError
        A byte differs from what was signed.
    TrustError
        Another key signed it, or a key that was retired before, or its form is unknown.
    """
    # 1.
    manifest_bytes = _read(folder, MANIFEST)
    manifest = verify_manifest(manifest_bytes, _read(folder, SIGNATURE), key, retired)
    # 2.
    contents = {file.name: _read(folder, file.name) for file in manifest.files}
    for file in manifest.files:
        if hashlib.sha256(contents[file.name]).hexdigest() != file.sha256:
            raise _tampered(file.name)
    # 3.
    if not {PLAN, WEIGHTS, REFERENCE} <= contents.keys():
        raise _unknown_form()
    if hashlib.sha256(contents[PLAN]).hexdigest() != manifest.plan_sha256:
        raise _tampered(PLAN)
    try:
        plan = Plan.from_toml(contents[PLAN])
        reference = Reference.model_validate_json(contents[REFERENCE])
    except (PlanError, ValidationError) as error:
        raise _unknown_form() from error
    return VerifiedPackage(
        manifest=manifest,
        manifest_sha256=hashlib.sha256(manifest_bytes).hexdigest(),
        plan=plan,
        weights=contents[WEIGHTS],
        reference=reference,
    )


def verify_manifest(
    manifest_bytes: bytes, signature: bytes, key: VerifyKey, retired: Sequence[RetiredKey] = ()
) -> Manifest:
    """A manifest whose signature is the coordinator's. Raises as `verify_package`."""
    envelope = Envelope.from_bytes(signature)
    signer = next((one for one in retired if one.key.key_id == envelope.key_id), None)
    if verify(envelope, MANIFEST_TYPE, signer.key if signer else key) != manifest_bytes:
        raise _tampered(MANIFEST)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
        created_at = datetime.fromisoformat(manifest.created_at).timestamp()
    except ValueError as error:  # pydantic's own errors are such too
        raise _unknown_form() from error
    if signer and created_at > signer.retired_at:
        raise TrustError(
            "The model was signed by a key of the coordinator that had been retired.",
            "Do not use it, and tell the coordinator: somebody else may hold that key.",
        )
    return manifest


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"The model's file '{name}' cannot be read.",
            "Give the folder that `mammofed-coordinator model download` wrote.",
        ) from error


def _unknown_form() -> TrustError:
    return TrustError("The model's manifest or plan has an unknown form.", "Update mammofed.")


def _tampered(name: str) -> TamperedError:
    return TamperedError(
        f"The model's file '{name}' is not the one that was signed.",
        "Do not use it; download the model again.",
    )
