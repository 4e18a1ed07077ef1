"""A mammogram with an identifier planted in every place where one has been found in a real file.

Each place gets a word of its own, so that a find says where it came from.
"""

from __future__ import annotations

import itertools
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from client.annotation.dicom_seg import draw_seg
from client.annotation.labelme import draw_labelme
from client.imaging.example import Label
from client.intake.dicom_file import read_mammogram
from deploy.demo.phantoms import GE, write_hospital

TEXT_KEYWORDS = [
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MilitaryRank",
    "EthnicGroup",
    "Occupation",
    "PatientComments",
    "AdditionalPatientHistory",
    "PatientReligiousPreference",
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "NameOfPhysiciansReadingStudy",
    "RequestingPhysician",
    "StationName",
    "DeviceSerialNumber",
    "DetectorID",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ProtocolName",
    "SeriesDescription",
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ImageComments",
    "AdmissionID",
    "IssuerOfPatientID",
    "PerformedStationAETitle",
    "ScheduledStationAETitle",
    "DerivationDescription",
    "AcquisitionDeviceProcessingDescription",
    "ContentLabel",
    "CurrentPatientLocation",
]
UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
META_TEXTS = (
    "SourceApplicationEntityTitle",
    "SendingApplicationEntityTitle",
    "ReceivingApplicationEntityTitle",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A hospital's folder with canaries.

    Attributes
    ----------
    canaries
        Place by canary.
    clean
        The same folder without the burned-in text, its images in the same order.
    packed
        The folder in a zip, and the first half of that zip.
    drawn
        Masks of two of the images as readers' tools write them: a DICOM segmentation with the patient's
        header, and outlines for LabelMe.
    """

    folder: Path
    clean: Path
    packed: tuple[Path, Path]
    drawn: Path
    images: list[Path]
    canaries: dict[str, str]


@dataclass(slots=True)
class _Canaries:
    places: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def text(self, place: str) -> str:
        canary = f"CANARY{next(self._numbers):04d}X"
        self.places[canary] = place
        return canary

    def uid(self, place: str) -> str:
        canary = f"1.2.826.0.1.3680043.9.9999.{next(self._numbers):04d}7654321"
        self.places[canary] = place
        return canary


def plant(folder: Path) -> Planted:
    """Write a hospital of three women and plant canaries in headers, pixels, names and masks."""
    canaries = _Canaries()
    named = folder / canaries.text("folder name")
    clean = folder / "clean"
    mix = {"b": 0.5, "c": 0.5}
    written = list(write_hospital(named, vendor=GE, patients=3, seed=3, density_mix=mix, spacing_mm=0.5))
    list(write_hospital(clean, vendor=GE, patients=3, seed=3, density_mix=mix, spacing_mm=0.5))
    images = []
    for image in written:
        dataset = dcmread(image.image_path)
        _burn_in(dataset, canaries)
        mask = image.mask_path
        _fill(dataset, canaries)
        target = image.image_path.with_name(f"{canaries.text('file name')}.dcm")
        dataset.save_as(target, enforce_file_format=True)
        image.image_path.unlink()
        _mask_with_text(mask, mask.with_name(f"{dataset.SOPInstanceUID}.png"), canaries)
        images.append(target)
    damaged = named / "images" / f"{canaries.text('name of a damaged file')}.dcm"
    content = images[0].read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    (named / "masks" / f"{canaries.text('name of a stray mask')}.json").write_text(
        json.dumps({"shapes": [{"label": canaries.text("class name in a mask"), "points": []}]})
    )
    return Planted(
        folder=named,
        clean=clean,
        packed=_pack(folder, named, canaries),
        drawn=_draw(folder / canaries.text("folder of drawn masks"), images, canaries),
        images=images,
        canaries=canaries.places,
    )


def _pack(folder: Path, named: Path, canaries: _Canaries) -> tuple[Path, Path]:
    whole = Path(shutil.make_archive(str(folder / canaries.text("archive name")), "zip", folder, named.name))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.comment = canaries.text("comment of an archive").encode()
    half = folder / f"{canaries.text('name of a damaged archive')}.zip"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return whole, half


def _draw(folder: Path, images: list[Path], canaries: _Canaries) -> Path:
    folder.mkdir()
    for image, form in zip(images, ("seg", "labelme"), strict=False):
        pixels_HW = read_mammogram(image).pixels_HW
        labels_HW = np.where(pixels_HW > np.median(pixels_HW), Label.DENSE, Label.BACKGROUND)
        if form == "seg":
            (folder / canaries.text("name of a segmentation")).write_bytes(
                draw_seg(image, labels_HW.astype(np.uint8), canaries.text("model of a segmentation"))
            )
            continue
        picture = f"{dcmread(image, stop_before_pixels=True).SOPInstanceUID}.png"
        document = json.loads(draw_labelme(labels_HW.astype(np.uint8), picture, canaries.text("model")))
        document["flags"][canaries.text("flag of LabelMe")] = True
        document["comment"] = canaries.text("comment of LabelMe")
        (folder / f"{canaries.text('name of outlines')}.json").write_text(json.dumps(document))
    return folder


def _fill(dataset: Dataset, canaries: _Canaries) -> None:
    """Identifiers in every element of the list, nested, private, in file meta, overlays and icon."""
    for keyword in TEXT_KEYWORDS:
        setattr(dataset, keyword, canaries.text(keyword))
    for keyword in UID_KEYWORDS:
        setattr(dataset, keyword, canaries.uid(keyword))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in META_TEXTS:
        setattr(dataset.file_meta, keyword, canaries.text(f"file meta {keyword}"))
    dataset.file_meta.PrivateInformationCreatorUID = canaries.uid("file meta creator")
    dataset.file_meta.PrivateInformation = canaries.text("file meta private").encode()
    dataset.preamble = canaries.text("preamble").encode().ljust(128, b"\0")
    nested = Dataset()
    nested.RequestedProcedureID = canaries.text("nested request")
    nested.ReferencedSOPInstanceUID = canaries.uid("nested reference")
    inner = Dataset()
    inner.PersonName = canaries.text("nested twice")
    nested.PersonIdentificationCodeSequence = Sequence([inner])
    dataset.RequestAttributesSequence = Sequence([nested])
    other = Dataset()
    other.PatientID = canaries.text("other patient ids")
    dataset.OtherPatientIDsSequence = Sequence([other])
    view = dataset.ViewCodeSequence[0]
    view.CodeMeaning = canaries.text("meaning of the view code")
    block = dataset.private_block(0x0099, "CANARY BLOCK", create=True)
    block.add_new(0x01, "LO", canaries.text("private element"))
    hidden = Dataset()
    hidden.PatientName = canaries.text("private sequence")
    block.add_new(0x02, "SQ", Sequence([hidden]))
    block.add_new(0x03, "UN", canaries.text("private bytes").encode())
    dataset.add(DataElement(0x60000010, "US", 8))
    dataset.add(DataElement(0x60000011, "US", 8))
    dataset.add(DataElement(0x60000022, "LO", canaries.text("overlay description")))
    dataset.add(DataElement(0x60003000, "OW", canaries.text("overlay bits").encode()))
    icon = Dataset()
    icon.Rows, icon.Columns = 1, 12
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = canaries.text("icon").encode()
    dataset.IconImageSequence = Sequence([icon])
    dataset.add(DataElement(0xFFFCFFFC, "OB", canaries.text("trailing padding").encode()))


def _burn_in(dataset: Dataset, canaries: _Canaries) -> None:
    """A name strip at the edge away from the chest, as bright as the image goes."""
    pixels_HW = dataset.pixel_array.copy()
    height, width = pixels_HW.shape
    strip = Image.new("L", (width, height))
    text = canaries.text("burned-in text")
    chest_left = dataset.PatientOrientation[0].startswith("A")
    ImageDraw.Draw(strip).text((width - 90 if chest_left else 12, 6), text, fill=255)
    bright = pixels_HW.min() if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels_HW.max()
    pixels_HW[np.asarray(strip) > 127] = bright
    dataset.PixelData = pixels_HW.tobytes()


def _mask_with_text(source: Path, target: Path, canaries: _Canaries) -> None:
    """The mask with a comment, as drawing programs leave one."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", canaries.text("comment in a mask"))
    with Image.open(source) as mask:
        mask.save(target, pnginfo=note)
    source.unlink()
