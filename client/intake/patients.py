"""A patient's identifier, one way of writing it: what the intake hashes, and what a withdrawal names."""

from __future__ import annotations

import re

# CBIS-DDSM builds a patient identifier for every image; the patient is the part in the middle.
CBIS_PATIENT = re.compile(r"(?:Mass|Calc)-(?:Training|Test)_(P_\d+)_(?:LEFT|RIGHT)_(?:CC|MLO)(?:_\d+)?")


def patient_of(identifier: str) -> str:
    """The patient that an identifier of a file or an index stands for; empty for an empty one."""
    stripped = identifier.strip()
    cbis = CBIS_PATIENT.fullmatch(stripped)
    return stripped if cbis is None else cbis.group(1)
