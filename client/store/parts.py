"""The split of a site's patients into parts: by patient, for good, the same on every machine.

Patients are visited in the order of a hash of their own identifier, so the split depends on the data alone
and not on file order or on the site's secret key. Each new patient goes to the part that is furthest below
its share; the first three patients open the three parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

SPLIT_SEED = b"mammofed split 1\0"


class Part(StrEnum):
    """What a patient's images are for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES_PERCENT: Mapping[Part, int] = {Part.TRAIN: 60, Part.TEST: 30, Part.VALIDATION: 10}
"""In the order in which parts are opened and ties are broken."""


def visiting_rank(patient_id: str) -> bytes:
    """Sort key of a patient: SHA-256 of a constant and the identifier, which must not be stored."""
    return hashlib.sha256(SPLIT_SEED + patient_id.encode("utf-8", "surrogatepass")).digest()


def next_part(patients: Mapping[Part, int]) -> Part:
    """The part of the next new patient, given how many patients each part has."""
    for part in SHARES_PERCENT:
        if patients.get(part, 0) == 0:
            return part
    total = sum(patients.values()) + 1
    return max(SHARES_PERCENT, key=lambda part: SHARES_PERCENT[part] * total - 100 * patients[part])
