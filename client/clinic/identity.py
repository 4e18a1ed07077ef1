"""What results repeat of an image's header, and the identifiers that they get.

Identifiers follow from the image's own, the model and the kind of object: whoever measures the same image
with the same model again makes the same object, of which an archive keeps one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from pydicom.uid import UID, generate_uid

from client.annotation.dicom_seg import PRODUCT
from shared.package import VerifiedPackage

Kind = Literal["segmentation", "overlay", "overlay-L", "overlay-R", "report"]
"""Overlays of each side, and of an unknown one, are a series of their own: a series has one laterality."""

FIRST_SERIES_NUMBER = 9001
"""High, so that what was measured comes after what was taken."""
KINDS: tuple[Kind, ...] = get_args(Kind)
DESCRIPTION = "Breast density, research use, not for diagnosis"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """By which model something was measured.

    Attributes
    ----------
    manifest_sha256
        What its signature is over.
    """

    model_id: str
    manifest_sha256: str

    @classmethod
    def of(cls, package: VerifiedPackage) -> ModelIdentity:
        """Of a verified model."""
        return cls(model_id=package.manifest.model_id, manifest_sha256=package.manifest_sha256)

    @property
    def words(self) -> str:
        """For the objects' elements of at most 64 characters."""
        return f"{self.model_id[:40]} {self.manifest_sha256[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectIdentity:
    """Identifiers of one object; left out of its printed form."""

    series_uid: UID = field(repr=False)
    sop_uid: UID = field(repr=False)
    series_number: int


def identify(
    study_uid: str, instance_uids: tuple[str, ...], kind: Kind, model: ModelIdentity
) -> ObjectIdentity:
    """Identifiers of an object that is made of these images of a study."""
    seed = [PRODUCT, kind, model.manifest_sha256, study_uid]
    return ObjectIdentity(
        series_uid=generate_uid(prefix="2.25.", entropy_srcs=seed),
        sop_uid=generate_uid(prefix="2.25.", entropy_srcs=[*seed, *sorted(instance_uids)]),
        series_number=FIRST_SERIES_NUMBER + KINDS.index(kind),
    )
