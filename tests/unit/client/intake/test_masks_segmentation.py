"""DICOM Segmentation objects as highdicom, 3D Slicer and OHIF write them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from client.imaging.example import Label
from client.intake.masks import MaskFile, Masks, open_masks
from shared.errors import IntakeError, MaskError

HEIGHT, WIDTH = 9, 7  # 63 pixels: a frame of single bits ends inside of a byte
SHAPE = (HEIGHT, WIDTH)
MakeDicom = Callable[..., Path]
Edit = Callable[[Dataset], object]


def region(rows: slice, columns: slice) -> np.ndarray:
    region_HW = np.zeros(SHAPE, np.bool_)
    region_HW[rows, columns] = True
    return region_HW


BREAST = region(slice(None), slice(0, 5))
DENSE = region(slice(3, 6), slice(1, 3))
PECTORAL = region(slice(0, 2), slice(0, 2))
NOTHING = region(slice(0), slice(0))
EXPECTED = np.where(PECTORAL, 3, np.where(DENSE, 2, np.where(BREAST, 1, 0))).tolist()


@pytest.fixture
def image(make_dicom: MakeDicom) -> Callable[..., FileDataset]:
    """A mammogram with the attributes that a writer of segmentations asks for."""
    study = generate_uid()

    def make(number: int = 1, **attributes: object) -> FileDataset:
        empty = dict.fromkeys(
            ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"), ""
        )
        path = make_dicom(
            f"images/{number}.dcm",
            Rows=HEIGHT,
            Columns=WIDTH,
            PixelData=np.zeros(SHAPE, np.uint16).tobytes(),
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.1",
            SeriesNumber=1,
            InstanceNumber=number,
            PatientBirthDate="",
            PatientSex="",
            **empty,
            **attributes,
        )
        return dcmread(path)

    return make


def in_space(number: int) -> dict[str, object]:
    """highdicom asks several images in one object for a common frame of reference."""
    return {
        "FrameOfReferenceUID": "1.2.9",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, number],
        "PixelSpacing": [0.1, 0.1],
        "SliceThickness": 1,
    }


def write(
    path: Path,
    images: Sequence[Dataset],
    segments: dict[str, Sequence[np.ndarray] | np.ndarray],
    *,
    kind: str = "BINARY",
    types: Sequence[Code] = (),
    edit: Edit = lambda dataset: None,
    share: float = 1.0,
) -> Path:
    """Write a segmentation; for several images each segment has a region for every image."""
    planes = [
        np.stack([region]) if isinstance(region, np.ndarray) else np.stack(region)
        for region in segments.values()
    ]
    pixels = np.stack(planes, axis=-1)
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=types[number - 1] if types else codes.SCT.Tissue,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(segments, start=1)
    ]
    dataset: Any = highdicom.seg.Segmentation(
        images,
        pixels * share if kind == "FRACTIONAL" else pixels,
        kind,
        descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="mammofed",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **({"fractional_type": "OCCUPANCY"} if kind == "FRACTIONAL" else {}),
    )
    edit(dataset)
    path.parent.mkdir(exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def only(folder: Path) -> MaskFile:
    (mask,) = open_masks(folder).values()
    return mask


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return tmp_path / "masks"


def test_a_binary_object_gives_the_mask_of_the_image_that_it_references(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    source = image()
    write(masks / "a", [source], {"Breast": BREAST, "Dense": DENSE, "Pectoral muscle": PECTORAL})
    mask = only(masks)
    assert (mask.key, mask.kind) == (source.SOPInstanceUID, "seg")
    assert mask.read(SHAPE).tolist() == EXPECTED
    assert pickle.loads(pickle.dumps(mask)).read(SHAPE).tolist() == EXPECTED
    assert mask.key not in repr(mask)


@pytest.mark.parametrize(("share", "num_dense"), [(0.6, 6), (0.4, 0)])
def test_of_a_fractional_object_half_and_more_counts(
    masks: Path, image: Callable[..., FileDataset], share: float, num_dense: int
) -> None:
    planes = {"breast": BREAST.astype(float), "dense": DENSE * share, "pectoral": NOTHING.astype(float)}
    write(masks / "a.dcm", [image()], planes, kind="FRACTIONAL")
    labels_HW = only(masks).read(SHAPE)
    assert np.count_nonzero(labels_HW == 2) == num_dense
    assert np.count_nonzero(labels_HW) == np.count_nonzero(BREAST)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_one_object_holds_the_masks_of_several_images(
    masks: Path, image: Callable[..., FileDataset], kind: str
) -> None:
    first, second = (image(number, **in_space(number)) for number in (1, 2))
    segments = {
        "breast": [BREAST, BREAST[:, ::-1]],
        "dense": [DENSE, NOTHING],
        "pectoral": [PECTORAL, NOTHING],
    }
    write(masks / "a.dcm", [first, second], segments, kind=kind)
    found = open_masks(masks)
    assert set(found) == {first.SOPInstanceUID, second.SOPInstanceUID}
    assert found[first.SOPInstanceUID].read(SHAPE).tolist() == EXPECTED
    # The writer leaves empty frames out: a declared segment without one is empty.
    assert (found[second.SOPInstanceUID].read(SHAPE) == BREAST[:, ::-1]).all()


def test_an_image_that_is_referenced_and_has_no_frame_has_no_mask(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    first, second = (image(number, **in_space(number)) for number in (1, 2))
    write(masks / "a.dcm", [first, second], {"breast": [BREAST, NOTHING], "dense": [DENSE, NOTHING]})
    assert list(open_masks(masks)) == [first.SOPInstanceUID]


def share_derivation(dataset: Dataset) -> None:
    """Functional groups that are alike for all frames may stand in the shared ones."""
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        dataset.SharedFunctionalGroupsSequence[0].DerivationImageSequence = frame.DerivationImageSequence
        del frame.DerivationImageSequence


def drop_derivation(dataset: Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


@pytest.mark.parametrize("edit", [share_derivation, drop_derivation])
def test_the_image_is_found_wherever_a_writer_names_it(
    masks: Path, image: Callable[..., FileDataset], edit: Edit
) -> None:
    source = image()
    segments = {"breast": BREAST, "dense": DENSE, "pectoral": PECTORAL}
    write(masks / "a.dcm", [source], segments, edit=edit)
    assert only(masks).key == source.SOPInstanceUID
    assert only(masks).read(SHAPE).tolist() == EXPECTED


def test_frames_that_name_none_of_several_images_are_refused(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    images = [image(number, **in_space(number)) for number in (1, 2)]
    segments = {"breast": [BREAST] * 2, "dense": [DENSE] * 2}
    write(masks / "a.dcm", images, segments, edit=drop_derivation)
    assert only(masks).key == "a"
    with pytest.raises(MaskError, match="malformed"):
        only(masks).read(SHAPE)


def test_classes_are_told_by_code_or_meaning_where_the_label_says_nothing(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    types = [
        codes.SCT.Breast,
        Code("DENSE", "99LOCAL", "Fibroglandular tissue"),
        codes.DCM.PectoralMuscleOutline,
    ]
    segments = {"Segment_1": BREAST, "Segment_2": DENSE, "Segment_3": PECTORAL}
    write(masks / "a.dcm", [image()], segments, types=types)
    assert only(masks).read(SHAPE).tolist() == EXPECTED


def test_a_label_goes_before_a_code_that_says_less(masks: Path, image: Callable[..., FileDataset]) -> None:
    types = [codes.SCT.Breast] * 2
    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense tissue": DENSE}, types=types)
    assert np.count_nonzero(only(masks).read(SHAPE) == 2) == 6


def test_an_unknown_class_is_refused_and_not_quoted(masks: Path, image: Callable[..., FileDataset]) -> None:
    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE, "Jane Doe": PECTORAL})
    with pytest.raises(MaskError, match="unknown") as caught:
        only(masks).read(SHAPE)
    assert "Doe" not in caught.value.message + caught.value.hint


def test_an_object_with_some_segments_alone_leaves_open_what_it_does_not_have(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    write(masks / "a.dcm", [image()], {"breast": BREAST})
    expected = np.where(BREAST, Label.BREAST_OR_PECTORAL, Label.NOT_BREAST)
    assert only(masks).read(SHAPE).tolist() == expected.tolist()


def test_an_object_of_its_own_for_each_segment_makes_one_mask(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    source = image()
    for name, region_HW in {"breast": BREAST, "dense": DENSE, "pectoral": PECTORAL}.items():
        write(masks / f"{name}.dcm", [source], {name: region_HW})
    assert only(masks).read(SHAPE).tolist() == EXPECTED


def test_dense_tissue_on_the_pectoral_muscle_is_refused(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE, "pectoral": DENSE})
    with pytest.raises(MaskError, match="contradict"):
        only(masks).read(SHAPE)


def test_a_mask_of_another_size_is_refused(masks: Path, image: Callable[..., FileDataset]) -> None:
    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE})
    with pytest.raises(MaskError, match="different sizes"):
        only(masks).read((WIDTH, HEIGHT))


def set_label_map(dataset: Dataset) -> None:
    dataset.SegmentationType = "LABELMAP"


def cut_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:8]


def drop_segments(dataset: Dataset) -> None:
    del dataset.SegmentSequence


def rename_segment(dataset: Dataset) -> None:
    dataset.SegmentSequence[1].SegmentNumber = 9


@pytest.mark.parametrize("edit", [set_label_map, cut_pixels, drop_segments, rename_segment])
def test_a_broken_object_is_refused(masks: Path, image: Callable[..., FileDataset], edit: Edit) -> None:
    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE}, edit=edit)
    with pytest.raises(MaskError):
        only(masks).read(SHAPE)


def test_an_image_among_the_masks_is_refused_as_a_mask(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    masks.mkdir()
    image().save_as(masks / "1.2.3.dcm")
    with pytest.raises(MaskError):
        open_masks(masks)["1.2.3"].read(SHAPE)


def test_a_deflated_object_is_read_while_it_cannot_inflate_without_end(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    def deflate(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    path = write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE}, edit=deflate)
    assert np.count_nonzero(only(masks).read(SHAPE) == 2) == 6
    with path.open("ab") as file:
        file.truncate(2 << 20)
    with pytest.raises(MaskError):
        only(masks).read(SHAPE)


def test_objects_among_the_images_join_the_masks_of_the_folder_and_a_copy_counts_once(
    tmp_path: Path, image: Callable[..., FileDataset]
) -> None:
    source = image()
    path = write(tmp_path / "export/a", [source], {"breast": BREAST, "dense": DENSE, "pectoral": PECTORAL})
    copy = tmp_path / "export/copy"
    copy.write_bytes(path.read_bytes())
    masks = Masks().with_segmentations({1: path, 2: copy})
    assert masks[source.SOPInstanceUID].read(SHAPE).tolist() == EXPECTED
    corrected = write(tmp_path / "export/b", [source], {"breast": BREAST, "dense": DENSE})
    with pytest.raises(MaskError, match="more than one mask"):
        masks.with_segmentations({3: corrected})[source.SOPInstanceUID].read(SHAPE)


def automatic(dataset: Dataset) -> None:
    for segment in dataset.SegmentSequence:
        segment.SegmentAlgorithmType = "AUTOMATIC"


def half_automatic(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentAlgorithmType = "AUTOMATIC"


def labelled_draft(dataset: Dataset) -> None:
    dataset.ContentLabel = "DRAFT"


@pytest.mark.parametrize(
    ("edit", "by_model"), [(automatic, True), (labelled_draft, True), (half_automatic, False)]
)
def test_what_a_program_alone_has_drawn_is_no_readers_mask(
    masks: Path, image: Callable[..., FileDataset], edit: Edit, by_model: bool
) -> None:
    source = image()
    write(masks / "a.dcm", [source], {"breast": BREAST, "dense": DENSE}, edit=edit)
    found = open_masks(masks)
    assert found[source.SOPInstanceUID].by_model is by_model
    assert (found.drawn_by_reader(source.SOPInstanceUID) is None) is by_model


@pytest.mark.parametrize("reader", ["a.dcm", "z.dcm"])
def test_a_draft_gives_way_to_what_a_reader_has_drawn(
    masks: Path, image: Callable[..., FileDataset], reader: str
) -> None:
    source = image()
    write(masks / "m.dcm", [source], {"breast": BREAST, "dense": NOTHING}, edit=automatic)
    write(masks / reader, [source], {"breast": BREAST, "dense": DENSE})
    assert np.count_nonzero(open_masks(masks)[source.SOPInstanceUID].read(SHAPE) == 2) == 6


@pytest.mark.parametrize(("frame", "read"), [((HEIGHT, WIDTH), True), ((2 * HEIGHT, WIDTH), False)])
def test_a_coded_frame_that_is_larger_than_the_header_says_is_never_decoded(
    masks: Path,
    image: Callable[..., FileDataset],
    monkeypatch: pytest.MonkeyPatch,
    frame: tuple[int, int],
    read: bool,
) -> None:
    def code(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.SegmentationFractionalType = "OCCUPANCY"
        dataset.SegmentationType, dataset.MaximumFractionalValue = "FRACTIONAL", 255
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        coded = imagecodecs.jpeg2k_encode(np.full(frame, 255, np.uint8), reversible=True)
        dataset.PixelData = encapsulate([coded] * 2)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE}, edit=code)
    mask = only(masks)
    if read:
        assert (mask.read(SHAPE) == 2).all()
        return
    monkeypatch.setattr(
        "client.intake.masks.segmentation.pixel_array", None
    )  # calling it would be a TypeError
    with pytest.raises(MaskError, match="malformed") as caught:
        mask.read(SHAPE)
    assert caught.value.__cause__ is None


def test_damaged_objects_are_read_or_refused_and_raise_nothing_else(
    masks: Path, image: Callable[..., FileDataset]
) -> None:
    path = write(masks / "a.dcm", [image()], {"breast": BREAST, "dense": DENSE})
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for number in range(150):
        damaged = bytearray(whole)
        at = int(generator.integers(132, len(whole)))
        damaged[at : at + 2] = generator.bytes(int(generator.integers(0, 4)))
        path.write_bytes(damaged if number % 4 else damaged[:at])
        try:
            for mask in open_masks(masks).values():
                assert mask.read(SHAPE).shape == SHAPE
        except IntakeError as error:
            assert error.hint
            refused += 1
    assert refused > 30
