"""What is read of a file: the elements listed and nothing else, and of a volume not one frame."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client.intake import dicom_file
from client.intake.allow_list import FACTS, HEADER_KEYWORDS, IDENTITY, IMAGE_KEYWORDS, PIXELS, WORDS
from client.intake.dicom_file import read_header, read_mammogram
from client.intake.exclusions import Reason, reasons_against
from client.intake.header import Header
from shared.errors import UndecodableError
from tests.unit.client.intake.conftest import draw_breast

MakeDicom = Callable[..., Path]
CANARY = "CANARY"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
REAL_VOLUME = Path(__file__).resolve().parents[5] / "shared/data/dbt_mini/jpeg2k_3d.dcm"


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def with_private(dataset: Dataset) -> Dataset:
    block = dataset.private_block(0x0019, f"{CANARY} PRIVATE", create=True)
    block.add_new(0x01, "LO", f"{CANARY} 1")
    block.add_new(0x02, "SQ", [item(PatientName=f"{CANARY} 2")])
    return dataset


@pytest.fixture(params=[ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def planted(request: pytest.FixtureRequest, make_dicom: MakeDicom) -> Path:
    """A mammogram with identifiers in every kind of place that is not to be read."""
    table = with_private(item(LUTDescriptor=[4096, 0, 16], LUTExplanation=f"{CANARY} 3"))
    table.add_new("LUTData", "OW", np.arange(4096).astype("<u2").tobytes())
    modifier = with_private(item(CodeValue="399161006", CodeMeaning=f"{CANARY} 4"))
    view = with_private(
        item(CodeValue="399162004", CodeMeaning=f"{CANARY} 5", ViewModifierCodeSequence=[modifier])
    )
    path = make_dicom(
        syntax=request.param,
        PatientName=f"{CANARY}^NAME",
        PatientBirthDate="19600229",
        AccessionNumber=CANARY,
        InstitutionName=CANARY,
        OperatorsName=CANARY,
        ImageComments=CANARY,
        DeviceSerialNumber=CANARY,
        SeriesInstanceUID="1.2.3.99999",
        RequestAttributesSequence=[item(RequestedProcedureDescription=CANARY, PatientName=CANARY)],
        ReferencedImageSequence=[item(ReferencedSOPInstanceUID="1.2.3.99999")],
        IconImageSequence=[item(Rows=1, Columns=6, BitsAllocated=8, PixelData=CANARY.encode())],
        ViewCodeSequence=[view],
        VOILUTSequence=[table],
    )
    dataset = dcmread(path)
    dataset.preamble = CANARY.encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.99999"
    dataset.file_meta.PrivateInformation = CANARY.encode()
    dataset.add_new(Tag(0x6000, 0x0022), "LO", f"{CANARY} OVERLAY")
    dataset.add_new(Tag(0x6000, 0x3000), "OW", CANARY.encode())
    with_private(dataset)
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.save_as(path)
    assert path.read_bytes().count(CANARY.encode()) > 25
    return path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """The data sets that header facts are taken from."""
    datasets: list[Dataset] = []
    parse_header = dicom_file.parse_header

    def noting(dataset: Dataset, has_pixels: bool) -> Header:
        datasets.append(dataset)
        return parse_header(dataset, has_pixels)

    monkeypatch.setattr(dicom_file, "parse_header", noting)
    return datasets


def elements(dataset: Dataset) -> Iterator[DataElement]:
    yield from dataset.iterall()
    yield from dataset.file_meta


def everything_in(dataset: Dataset) -> str:
    """All that a data set holds, as text: its elements, and what Python keeps beside them."""
    values = [str(element.value) for element in elements(dataset)]
    return " ".join([*values, str({name: value for name, value in vars(dataset).items() if name != "_dict"})])


def test_identifiers_planted_everywhere_are_not_in_the_header_that_is_read(
    planted: Path, seen: list[Dataset]
) -> None:
    read_header(planted)
    (dataset,) = seen
    assert CANARY not in everything_in(dataset)
    assert str(planted) not in everything_in(dataset)
    assert {element.keyword for element in elements(dataset)} <= HEADER_KEYWORDS | {"TransferSyntaxUID"}


def test_the_pixels_are_read_without_any_identifier(planted: Path, seen: list[Dataset]) -> None:
    mammogram = read_mammogram(planted)
    (dataset,) = seen
    assert CANARY not in everything_in(dataset)
    keywords = {element.keyword for element in elements(dataset)}
    assert keywords <= IMAGE_KEYWORDS | {"TransferSyntaxUID"}
    assert keywords.isdisjoint({*IDENTITY, *WORDS})
    assert mammogram.pixels_HW.any()


def test_what_is_listed_still_arrives(planted: Path) -> None:
    header = read_header(planted)
    assert header.view == "CC"
    assert header.partial
    assert header.patient_id == "PID-1"


def test_every_element_listed_is_in_the_dictionary_and_in_one_table_with_a_reason() -> None:
    tables = (IDENTITY, WORDS, FACTS, PIXELS)
    keywords = [keyword for table in tables for keyword in table]
    assert len(keywords) == len(set(keywords))
    assert all(Tag(keyword).group % 2 == 0 for keyword in keywords)
    assert all(reason for table in tables for reason in table.values())


@pytest.mark.parametrize(
    ("attributes", "year"),
    [
        ({"AcquisitionDate": "20190302", "StudyDate": "20200101"}, 2019),
        ({"StudyDate": "20200101"}, 2020),
        ({"AcquisitionDate": "", "StudyDate": "2001.12.31"}, 2001),
        ({"AcquisitionDate": "18000101", "StudyDate": "20050101"}, 2005),
        ({"StudyDate": "00010101"}, None),
        ({"StudyDate": "unknown"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_of_a_date_the_plausible_year_is_read(
    make_dicom: MakeDicom, attributes: dict[str, Any], year: int | None
) -> None:
    assert read_header(make_dicom(**attributes)).year == year


@pytest.mark.parametrize("flavour", ["GENERATED_2D", "TOMO_2D"])
def test_a_vendors_synthetic_view_is_an_image_like_any_other(make_dicom: MakeDicom, flavour: str) -> None:
    path = make_dicom(ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", flavour])
    assert reasons_against(read_header(path)) == []
    assert read_mammogram(path).pixels_HW.any()


@pytest.mark.parametrize("flavour", ["GENERATED_2D", "TOMO_2D"])
def test_a_synthetic_view_of_the_volumes_class_is_read_from_its_groups(
    make_dicom: MakeDicom, flavour: str
) -> None:
    shared = item(
        FrameAnatomySequence=[item(FrameLaterality="R")],
        FrameVOILUTSequence=[item(WindowCenter=3000, WindowWidth=400)],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=0)],
    )
    path = make_dicom(
        SOPClassUID=TOMOSYNTHESIS,
        NumberOfFrames=1,
        ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", flavour],
        ImageLaterality=None,
        SharedFunctionalGroupsSequence=[shared],
    )
    header = read_header(path)
    assert reasons_against(header) == []
    assert header.laterality == "R"
    # Stored values of 1400 to 1600 lie in the window; what is below or above is cut off.
    shown_HW, stored_HW = read_mammogram(path).pixels_HW, draw_breast()
    assert np.unique(shown_HW[stored_HW < 1390]).size == np.unique(shown_HW[stored_HW > 1610]).size == 1
    assert np.unique(shown_HW[(stored_HW > 1410) & (stored_HW < 1590)]).size > 100


def test_a_thumbnail_of_a_synthetic_view_is_too_small(make_dicom: MakeDicom) -> None:
    path = make_dicom(
        SOPClassUID=TOMOSYNTHESIS,
        NumberOfFrames=1,
        ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"],
        ImagerPixelSpacing=None,
    )
    assert reasons_against(read_header(path)) == [Reason.TOO_SMALL]


PEAK = r"""
import re, sys
from pathlib import Path
from client.intake.dicom_file import read_header, read_mammogram
from client.intake.exclusions import reasons_against
from shared.errors import UndecodableError
from tests.unit.client.intake.conftest import draw_breast
from tests.unit.client.intake.conftest import draw_breast

def peak_mb():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = peak_mb()
header = read_header(Path(sys.argv[1]))
try:
    read_mammogram(Path(sys.argv[1]))
except UndecodableError:
    print(reasons_against(header)[0].value, header.num_frames, peak_mb() - before)
"""


def test_a_volume_of_a_gigabyte_is_judged_on_its_header_alone(make_dicom: MakeDicom) -> None:
    path = make_dicom(SOPClassUID=TOMOSYNTHESIS, NumberOfFrames=3000, PixelData=b"")
    size = 3000 * 512 * 320 * 2
    with path.open("r+b") as file:
        # The length of the last element, the pixels, then as many zeros, which take no room on the disk.
        file.seek(-4, 2)
        file.write(size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)
    assert path.stat().st_size > 900_000_000
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    reason, num_frames, growth_mb = done.stdout.split()
    assert (reason, num_frames) == (Reason.TOMOSYNTHESIS, "3000")
    assert float(growth_mb) < 30


@pytest.mark.skipif(not REAL_VOLUME.is_file(), reason="the real tomosynthesis file is not here")
def test_a_real_volume_is_recognised_and_not_decoded() -> None:
    header = read_header(REAL_VOLUME)
    assert header.num_frames > 1
    assert Reason.TOMOSYNTHESIS in reasons_against(header)
    with pytest.raises(UndecodableError):
        read_mammogram(REAL_VOLUME)
