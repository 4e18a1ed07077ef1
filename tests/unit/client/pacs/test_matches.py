"""What an archive's answers are taken to say."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from client.intake.header import SopClass
from client.pacs.matches import instance_of, study_of
from shared.errors import PacsError


def dataset(**values: object) -> Dataset:
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def test_a_study_is_known_by_its_patient_and_its_number_of_instances() -> None:
    found = study_of(
        dataset(
            StudyInstanceUID="1.2.3",
            PatientID=" 4711 ",
            ModalitiesInStudy=["MG", "SR"],
            NumberOfStudyRelatedInstances="9",
        )
    )
    assert found is not None
    assert (found.study_uid, found.patient_id, found.num_instances) == ("1.2.3", "4711", 9)


def test_a_study_prints_no_identifier() -> None:
    found = study_of(dataset(StudyInstanceUID="1.2.3456", PatientID="DOE-4711"))
    assert "4711" not in repr(found)
    assert "3456" not in repr(found)


def test_an_archive_that_ignores_the_modality_is_not_believed() -> None:
    assert study_of(dataset(StudyInstanceUID="1.2.3", ModalitiesInStudy=["CT"])) is None


def test_an_archive_that_says_nothing_of_modalities_is_looked_into() -> None:
    found = study_of(dataset(StudyInstanceUID="1.2.3", ModalitiesInStudy=None))
    assert found is not None
    assert (found.patient_id, found.num_instances) == ("", None)


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2.3/rendered", "1.2.3?x=1", "9" * 65])
def test_path_traversal_by_uid_is_refused(uid: str) -> None:
    series = dataset(SeriesInstanceUID="1.2.4")
    with pytest.raises(PacsError, match="no DICOM UID"):
        study_of(dataset(StudyInstanceUID=uid))
    with pytest.raises(PacsError, match="no DICOM UID"):
        instance_of(dataset(SOPInstanceUID=uid), series, "MG")


def test_an_instance_says_what_it_is_as_far_as_the_archive_tells() -> None:
    series = dataset(SeriesInstanceUID="1.2.4")
    told = instance_of(
        dataset(
            SOPInstanceUID="1.2.5",
            SOPClassUID=SopClass.TOMOSYNTHESIS.value,
            ViewPosition="mlo",
            NumberOfFrames=1,
        ),
        series,
        "MG",
    )
    assert (told.sop_class, told.view, told.is_mask) == (SopClass.TOMOSYNTHESIS, "MLO", False)
    assert told.num_frames == 1
    silent = instance_of(dataset(SOPInstanceUID="1.2.5", ViewPosition=""), series, "SEG")
    assert (silent.sop_class, silent.view, silent.is_mask) == (None, None, True)
    assert silent.num_frames is None
