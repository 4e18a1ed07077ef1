"""The overlay picture as a Secondary Capture (PS3.3 A.8.1) in the study of its image."""

from __future__ import annotations

import io
from importlib.metadata import version

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset

from client.annotation.dicom_seg import PRODUCT, writing
from client.clinic.identity import DESCRIPTION, ModelIdentity, ObjectIdentity
from client.imaging.mammogram import Laterality


def draw_capture(
    header: Dataset,
    picture: Image.Image,
    model: ModelIdentity,
    identity: ObjectIdentity,
    *,
    number: int,
    laterality: Laterality | None,
) -> bytes:
    """A picture as a Part 10 file.

    Parameters
    ----------
    header
        Of the image that it shows, without pixels.
    picture
        As `client.imaging.overlay.draw_overlay` draws it: "research use, not for diagnosis" is in it.
    number
        Instance number.

    Raises
    ------
    UndecodableError
        The header garbles what the object must repeat.
    """
    with writing("a Secondary Capture"):
        capture = SCImage(
            pixel_array=np.asarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("A", "F"),  # the image's own may be of more letters: below
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=identity.series_uid,
            series_number=identity.series_number,
            sop_instance_uid=identity.sop_uid,
            instance_number=number,
            manufacturer=PRODUCT,
            patient_id=header.get("PatientID"),
            patient_name=header.get("PatientName"),
            patient_birth_date=header.get("PatientBirthDate"),
            patient_sex=header.get("PatientSex") or None,
            accession_number=header.get("AccessionNumber"),
            study_id=header.get("StudyID"),
            study_date=header.get("StudyDate"),
            study_time=header.get("StudyTime"),
            referring_physician_name=header.get("ReferringPhysicianName"),
        )
        capture.PatientOrientation = list(header.get("PatientOrientation") or [])
        capture.Laterality = "" if laterality is None else laterality.value
        capture.Modality = "OT"
        capture.ConversionType = "WSD"
        capture.BurnedInAnnotation = "YES"
        capture.RecognizableVisualFeatures = "NO"
        capture.SeriesDescription = DESCRIPTION
        capture.ManufacturerModelName = PRODUCT
        capture.SoftwareVersions = version(PRODUCT)
        capture.DeviceSerialNumber = model.words
        buffer = io.BytesIO()
        capture.save_as(buffer)
        return buffer.getvalue()
