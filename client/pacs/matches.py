"""What an archive's answers say, and whether their identifiers are fit for use."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from client.intake.dicom_header import parse_header
from client.pacs.archive import MAMMOGRAPHY, SEGMENTATION, InstanceFound, StudyFound
from shared.errors import PacsError

UID_PATTERN = re.compile(r"[0-9.]{1,64}")


def study_of(match: Dataset) -> StudyFound | None:
    """A match at study level; None if it says that it has no mammogram.

    Raises
    ------
    PacsError
        It has no usable identifier.
    """
    modalities = _texts(match, "ModalitiesInStudy")
    if modalities and MAMMOGRAPHY not in modalities:
        return None  # an archive may ignore this key of a query
    number = _text(match, "NumberOfStudyRelatedInstances")
    return StudyFound(
        study_uid=uid_of(match, "StudyInstanceUID"),
        patient_id=_text(match, "PatientID"),
        num_instances=int(number) if number.isdecimal() else None,
    )


def instance_of(match: Dataset, series: Dataset, modality: str) -> InstanceFound:
    """A match at image level, of a series and its modality. Raises PacsError as `study_of`."""
    header = parse_header(match, has_pixels=False)
    frames = _text(match, "NumberOfFrames")
    return InstanceFound(
        series_uid=uid_of(series, "SeriesInstanceUID"),
        sop_uid=uid_of(match, "SOPInstanceUID"),
        sop_class=header.sop_class if "SOPClassUID" in match else None,
        is_mask=modality == SEGMENTATION,
        view=header.view,
        num_frames=int(frames) if frames.isdecimal() else None,
    )


def uid_of(match: Dataset, keyword: str) -> str:
    """A UID that may become part of an address. Raises PacsError."""
    uid = _text(match, keyword)
    if UID_PATTERN.fullmatch(uid) is None:
        raise PacsError(
            "The PACS answers with an identifier that is no DICOM UID.",
            "Ask its administrator to correct it.",
        )
    return uid


def _text(match: Dataset, keyword: str) -> str:
    texts = _texts(match, keyword)
    return texts[0] if len(texts) == 1 else ""


def _texts(match: Dataset, keyword: str) -> list[str]:
    value = match.get(keyword)
    if value is None:
        return []
    values = [value] if isinstance(value, str | int) else list(value)
    return [text for one in values if (text := str(one).strip())]
