"""What suggestions rest on at one site: its settings, and what it knows of its patients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from client.catalog import Catalog
from client.followup.clinical import ClinicalInputs
from client.followup.settings import FollowUpSettings
from client.intake.patients import patient_of
from client.store.clinical import Added


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


def keep_inputs(catalog: Catalog, told: Mapping[str, ClinicalInputs], *, actor: str) -> Added:
    """Keep inputs by the patients' identifiers, as `client.followup.clinical` gives them, under pseudonyms.

    Raises
    ------
    BusyError
        Another change of the site's data is going on.
    HomeError, StoreError
        As `Catalog.pseudonyms`.
    """
    with catalog.importing():
        pseudonyms = catalog.pseudonyms()
        by_pseudonym = {pseudonyms.patient(patient): inputs for patient, inputs in told.items()}
        return catalog.clinical.add(by_pseudonym, actor=actor, at=time.time())
