"""A phantom as a Digital Mammography X-Ray Image, For Presentation (DICOM PS3.3, A.26).

Every name, number and date in the header is invented. They stand there to be looked for: nothing of them
may leave a hospital.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from deploy.demo.phantoms.phantom import Phantom
from deploy.demo.phantoms.vendors import BITS_STORED, Vendor

VIEW_CODES = {
    ("CC", "SNM3"): ("R-10242", "cranio-caudal"),
    ("MLO", "SNM3"): ("R-10226", "medio-lateral oblique"),
    ("CC", "SCT"): ("399162004", "cranio-caudal"),
    ("MLO", "SCT"): ("399368009", "medio-lateral oblique"),
}
BREAST_CODES = {"SNM3": ("T-04000", "Breast"), "SCT": ("76752008", "Breast")}
ORIENTATIONS = {
    ("L", "CC"): ["A", "R"],
    ("R", "CC"): ["P", "L"],
    ("L", "MLO"): ["A", "FR"],
    ("R", "MLO"): ["P", "FL"],
}
PRIVATE_GROUPS = {"hologic": 0x0019, "ge": 0x0045, "siemens": 0x0029}
LOOK_UP_TABLES = {"NORMAL": 1.0, "HARDER": 1.3, "SOFTER": 0.75}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What the header says of the woman and her study; all of it invented.

    Attributes
    ----------
    birth_date, study_date
        DICOM DA, YYYYMMDD.
    study_time
        DICOM TM, HHMMSS.
    age_years
        At the study.
    """

    institution: str
    patient_name: str
    patient_id: str
    birth_date: str
    age_years: int
    accession_number: str
    study_date: str
    study_time: str
    study_uid: str
    series_uid: str


def to_dicom(phantom: Phantom, exam: Exam, *, sop_instance_uid: str, instance_number: int) -> FileDataset:
    """A complete DICOM file of a phantom, pixel data encoded as its vendor does."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    compressed = phantom.vendor.transfer_syntax.is_compressed
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if compressed else phantom.vendor.transfer_syntax
    meta.SourceApplicationEntityTitle = "PHANTOMMODALITY"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.InstanceNumber = instance_number
    _describe_exam(dataset, exam)
    _describe_equipment(dataset, exam, phantom.vendor)
    _describe_acquisition(dataset, phantom)
    _describe_display(dataset, phantom.vendor)
    _set_pixels(dataset, phantom)
    return dataset


def _describe_exam(dataset: Dataset, exam: Exam) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = exam.patient_name
    dataset.PatientID = exam.patient_id
    dataset.PatientBirthDate = exam.birth_date
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{exam.age_years:03d}Y"
    dataset.StudyInstanceUID = exam.study_uid
    dataset.SeriesInstanceUID = exam.series_uid
    dataset.StudyID = exam.accession_number[-6:]
    dataset.SeriesNumber = 1
    dataset.AccessionNumber = exam.accession_number
    dataset.ReferringPhysicianName = "PHANTOM^REFERRER"
    dataset.StudyDescription = "MAMMOGRAPHY SCREENING BILATERAL"
    dataset.SeriesDescription = "SCREENING"
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{kind}Date", exam.study_date)
        setattr(dataset, f"{kind}Time", exam.study_time)


def _describe_equipment(dataset: Dataset, exam: Exam, vendor: Vendor) -> None:
    dataset.Modality = "MG"
    dataset.Manufacturer = vendor.manufacturer
    dataset.ManufacturerModelName = vendor.model
    dataset.SoftwareVersions = vendor.software
    dataset.DeviceSerialNumber = f"PHANTOM-{vendor.name.upper()}-01"
    dataset.StationName = f"MAMMO-{vendor.name.upper()}"
    dataset.InstitutionName = exam.institution
    dataset.OperatorsName = "PHANTOM^OPERATOR"
    block = dataset.private_block(PRIVATE_GROUPS[vendor.name], f"PHANTOM {vendor.name.upper()}", create=True)
    block.add_new(0x01, "LO", f"{exam.patient_name} {exam.patient_id}")


def _describe_acquisition(dataset: Dataset, phantom: Phantom) -> None:
    """The DX and mammography modules (PS3.3, C.8.11)."""
    vendor, scheme = phantom.vendor, phantom.vendor.code_scheme
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = phantom.laterality
    dataset.ViewPosition = phantom.view
    dataset.PatientOrientation = ORIENTATIONS[phantom.laterality, phantom.view]
    dataset.BodyPartExamined = "BREAST"
    dataset.OrganExposed = "BREAST"
    dataset.BreastImplantPresent = "NO"
    dataset.PartialView = "NO"
    dataset.AnatomicRegionSequence = Sequence([_code(scheme, *BREAST_CODES[scheme])])
    view = _code(scheme, *VIEW_CODES[phantom.view, scheme])
    view.ViewModifierCodeSequence = Sequence([])
    dataset.ViewCodeSequence = Sequence([view])
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.PositionerType = "MAMMOGRAPHIC"
    angle = 0 if phantom.view == "CC" else 45
    dataset.PositionerPrimaryAngle = str(angle if phantom.laterality == "R" else -angle)
    dataset.CompressionForce = "95"
    dataset.BodyPartThickness = f"{phantom.thickness_mm:.1f}"
    dataset.KVP = "28" if phantom.thickness_mm < 60 else "30"
    dataset.AnodeTargetMaterial = "TUNGSTEN"
    dataset.FilterMaterial = "RHODIUM"
    dataset.DetectorType = vendor.detector
    dataset.ImagerPixelSpacing = [f"{phantom.spacing_mm:g}"] * 2
    dataset.EstimatedRadiographicMagnificationFactor = "1"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.DerivationDescription = "Synthetic phantom, not of a person"


def _describe_display(dataset: Dataset, vendor: Vendor) -> None:
    centre, width = vendor.window
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if vendor.photometric == "MONOCHROME1" else "IDENTITY"
    dataset.WindowCenter = [str(centre), str(centre + width // 20)]
    dataset.WindowWidth = [str(width), str(round(0.8 * width))]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    dataset.VOILUTFunction = "LINEAR" if vendor.voi == "linear" else "SIGMOID"
    if vendor.voi == "tables":
        tables = [_look_up_table(name, slope, centre, width) for name, slope in LOOK_UP_TABLES.items()]
        dataset.VOILUTSequence = Sequence(tables)


def _look_up_table(explanation: str, slope: float, centre: int, width: int) -> Dataset:
    """A sigmoid of the whole stored range as a table (PS3.3, C.11.2)."""
    num_entries = 2**BITS_STORED
    stored = np.arange(num_entries)
    values = (num_entries - 1) / (1 + np.exp(-4 * slope * (stored - centre) / width))
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [num_entries, 0, BITS_STORED])
    table.LUTExplanation = explanation
    table.add_new("LUTData", "OW", np.rint(values).astype("<u2").tobytes())
    return table


def _set_pixels(dataset: FileDataset, phantom: Phantom) -> None:
    vendor = phantom.vendor
    if vendor.padding is not None:
        first, last = vendor.padding
        dataset.add_new("PixelPaddingValue", "US", first)
        dataset.add_new("PixelPaddingRangeLimit", "US", last)
    stored_HW = np.ascontiguousarray(phantom.stored_HW)
    dataset.set_pixel_data(stored_HW, vendor.photometric, BITS_STORED, generate_instance_uid=False)
    if vendor.transfer_syntax.is_compressed:
        dataset.compress(vendor.transfer_syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)


def _code(scheme: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
