"""A woman's age from a header."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from client.clinic.examination import age_of


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "055Y"}, 55),
        ({"PatientAge": "055Y", "PatientBirthDate": "19000101", "StudyDate": "20200101"}, 55),
        ({"PatientBirthDate": "19700615", "StudyDate": "20200614"}, 49),
        ({"PatientBirthDate": "19700615", "StudyDate": "20200615"}, 50),
        ({"PatientBirthDate": "20210101", "StudyDate": "20200101"}, None),
        ({"PatientAge": "018M"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20200101"}, None),
        ({}, None),
    ],
)
def test_the_age_is_the_headers_or_follows_from_the_date_of_birth(
    elements: dict[str, str], age: int | None
) -> None:
    header = Dataset()
    for keyword, value in elements.items():
        setattr(header, keyword, value)

    assert age_of(header) == age
