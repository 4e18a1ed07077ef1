"""What suggestions rest on at one site: its settings, and what it knows of its patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from client.catalog import Catalog
from client.followup.clinical import ClinicalInputs
from client.followup.settings import FollowUpSettings
from client.intake.patients import patient_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """What is suggested, and by what.

    Attributes
    ----------
    inputs_of
        Told a patient's identifier, as images have it, says what is known; nothing is all unknown.
    """

    settings: FollowUpSettings
    inputs_of: Callable[[str], ClinicalInputs]


def following(catalog: Catalog, settings: FollowUpSettings | None) -> FollowUp | None:
    """Of a site; None where nothing may be suggested. Raises as `Catalog.pseudonyms`."""
    if settings is None:
        return None
    pseudonyms = catalog.pseudonyms()

    def inputs_of(patient_id: str) -> ClinicalInputs:
        patient = patient_of(patient_id)
        known = catalog.clinical.find(pseudonyms.patient(patient)) if patient else None
        return known or ClinicalInputs()

    return FollowUp(settings=settings, inputs_of=inputs_of)
