"""A published model as a folder: signed manifest, weights, plan, lineage, model card, and signed supplements.

The manifest names every file with its SHA-256; `manifest.sig` is the coordinator's signed envelope over the
manifest. What the model's evaluation has shown lies beside it (`shared.supplements`). `verify_package` is the
only way to a `VerifiedPackage`, and what is read from one is what was verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shared.band_calibration import BandCalibration
from shared.errors import NotFoundError, PlanError, TamperedError, TrustError
from shared.plan import Plan
from shared.reference import Reference
from shared.supplements import (
    Calibration,
    Limits,
    Supplement,
    SupplementKind,
    lines_of,
    to_json,
    verify_supplement,
)
from shared.tables import Table
from shared.trust.anchors import RetiredKey
from shared.trust.envelope import Envelope
from shared.trust.keys import VerifyKey
from shared.trust.retired import require_signed_in_time, verify_by_any
from shared.untold import untold

MANIFEST_TYPE = "application/vnd.mammofed.manifest+json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
WEIGHTS = "weights.safetensors"
PLAN = "plan.toml"
MODEL_CARD = "model_card.md"
METRICS = "metrics.json"
LINEAGE = "lineage.json"
CURVES = "learning_curves.png"


class ManifestFile(Table):
    """One file by name and content."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Table):
    """What a package holds and where it comes from: the model's passport, before its evaluation."""

    format: Literal[2] = 2
    model_id: str
    run_id: str
    plan_sha256: str
    coordinator: str
    created_at: str
    software: str
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
    supplements
        Those that lie beside it, verified.
    """

    manifest: Manifest
    manifest_sha256: str
    plan: Plan
    weights: bytes
    supplements: Mapping[SupplementKind, Supplement]

    def to_json(self) -> dict[str, object]:
        """Plain JSON values: whose passport it is, and what its evaluation has shown."""
        return {
            "model_id": self.manifest.model_id,
            "manifest_sha256": self.manifest_sha256,
            "created_at": self.manifest.created_at,
            "verified": True,
            "supplements": to_json(self.supplements),
            "untold": dict(untold(self.plan)),
        }

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        return [
            f"{self.manifest.model_id}, published {self.manifest.created_at}, verified",
            f"  manifest {self.manifest_sha256}",
            *lines_of(self.supplements, untold(self.plan)),
        ]

    @property
    def reference(self) -> Reference:
        """What each image that the model is used on is judged by; empty before its evaluation."""
        limits = self.supplements.get(SupplementKind.LIMITS)
        return limits.content.reference if limits and isinstance(limits.content, Limits) else Reference()

    @property
    def band_calibration(self) -> BandCalibration | None:
        """Lets the model's density bands be called by the readers' word; None forbids it."""
        told = self.supplements.get(SupplementKind.CALIBRATION)
        return told.content.bands if told and isinstance(told.content, Calibration) else None


def verify_package(folder: Path, key: VerifyKey, retired: Sequence[RetiredKey] = ()) -> VerifiedPackage:
    """Verify a package: 1. the signature over the manifest, 2. each file's digest, 3. what it must hold,
    4. the supplements beside it.

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
    if not {PLAN, WEIGHTS} <= contents.keys():
        raise _unknown_form()
    if hashlib.sha256(contents[PLAN]).hexdigest() != manifest.plan_sha256:
        raise _tampered(PLAN)
    try:
        plan = Plan.from_toml(contents[PLAN])
    except PlanError as error:
        raise _unknown_form() from error
    # 4.
    manifest_sha256 = hashlib.sha256(manifest_bytes).hexdigest()
    supplements = {
        kind: verify_supplement(_read(folder, kind.file), kind, manifest_sha256, key, retired)
        for kind in SupplementKind
        if (folder / kind.file).exists()
    }
    return VerifiedPackage(
        manifest=manifest,
        manifest_sha256=manifest_sha256,
        plan=plan,
        weights=contents[WEIGHTS],
        supplements=supplements,
    )


def verify_manifest(
    manifest_bytes: bytes, signature: bytes, key: VerifyKey, retired: Sequence[RetiredKey] = ()
) -> Manifest:
    """A manifest whose signature is the coordinator's. Raises as `verify_package`."""
    signed, good_until = verify_by_any(Envelope.from_bytes(signature), MANIFEST_TYPE, key, retired)
    if signed != manifest_bytes:
        raise _tampered(MANIFEST)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
        created_at = datetime.fromisoformat(manifest.created_at).timestamp()
    except ValueError as error:  # pydantic's own errors are such too
        raise _unknown_form() from error
    require_signed_in_time(created_at, good_until)
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
