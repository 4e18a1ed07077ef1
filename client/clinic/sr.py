"""The numbers of an exam as a Measurement Report (PS3.16 TID 1500) in a Comprehensive SR (PS3.3 A.35.3).

One group for each image, on the segment of its breast (TID 1410), or on the image alone with the reason why
it was not measured (TID 1501); then one for each breast and one for the woman. A breast composition is said
only where the model's passport has a calibration on readers' categories, and with its probability.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, SegmentationStorage, generate_uid

from client.annotation.dicom_seg import DENSE_TISSUE, PRODUCT, writing
from client.clinic.exam import BreastDensity, ExamDensity, exam_density
from client.clinic.identity import DESCRIPTION, ModelIdentity, ObjectIdentity
from client.followup.suggestion import LABEL, Suggestion
from client.imaging.mammogram import Laterality
from client.inference.report import DensityReport
from client.intake.exclusions import Reason
from shared.bands import BANDS, Band
from shared.model.density_band import DensityBand

OURS = "99MAMMOFED"
PERCENT_DENSITY = codes.DCM.PercentFibroglandularTissue
AREA = Code("131184002", "SCT", "Area of defined region")
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
COMPOSITION = Code("129715009", "SCT", "Breast composition")
CATEGORIES = {
    "a": Code("129716005", "SCT", "Almost entirely fat"),
    "b": Code("129717001", "SCT", "Scattered fibroglandular densities"),
    "c": Code("129718006", "SCT", "Heterogeneously dense"),
    "d": Code("129719003", "SCT", "Extremely dense"),
}
"""CID 6000."""
PROBABILITY = Code("PROBABILITY", OURS, "Probability of the breast composition")
UNCERTAINTY = Code("UNCERTAINTY", OURS, "Mean entropy of dense tissue over the breast")
FIVE_YEAR_RISK = Code("BCSC2008", OURS, "Five-year risk of breast cancer, BCSC 2008")
BITS = Code("bit", "UCUM", "bit")
SQUARE_MM = Code("mm2", "UCUM", "mm2")
SIDES = {Laterality.LEFT: codes.SCT.Left, Laterality.RIGHT: codes.SCT.Right}
NOTICE = QualitativeEvaluation(
    name=CodedConcept("USE", OURS, "Intended use"),
    value=CodedConcept("RESEARCH", OURS, "Research use, not for diagnosis"),
)
BREAST_SEGMENT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamImage:
    """One image of an exam and what became of it. Identifiers are left out of its printed form.

    Attributes
    ----------
    header
        Of the image, without its pixels.
    outcome
        What was measured, or why nothing was.
    segmentation_uid, segmentation_series_uid
        Of the object that holds its segments; None where nothing was measured.
    """

    header: Dataset = field(repr=False)
    outcome: DensityReport | Reason
    segmentation_uid: UID | None = field(default=None, repr=False)
    segmentation_series_uid: UID | None = field(default=None, repr=False)


def draw_report(
    images: Sequence[ExamImage],
    model: ModelIdentity,
    identity: ObjectIdentity,
    suggestion: Suggestion | None,
) -> bytes:
    """The report of one study as a Part 10 file.

    Raises
    ------
    UndecodableError
        A header garbles what a report must repeat.
    """
    with writing("a structured report"):
        buffer = io.BytesIO()
        _report(images, model, identity, suggestion).save_as(buffer)
        return buffer.getvalue()


def _report(
    images: Sequence[ExamImage],
    model: ModelIdentity,
    identity: ObjectIdentity,
    suggestion: Suggestion | None,
) -> ComprehensiveSR:
    exam = exam_density([one.outcome for one in images if isinstance(one.outcome, DensityReport)])
    groups = [
        *(_image_group(one, model) for one in images),
        *(_breast_group(breast, model) for breast in exam.breasts),
    ]
    if exam.denser is not None:
        groups.append(_woman_group(exam, exam.denser, model))
    if suggestion is not None:
        groups.append(_suggestion_group(suggestion, model))
    content = MeasurementReport(
        observation_context=_observed_by(model),
        procedure_reported=MAMMOGRAPHY,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = ComprehensiveSR(
        evidence=[one.header for one in images]
        + [_segmentation_of(one) for one in images if one.segmentation_uid],
        content=content[0],
        series_instance_uid=identity.series_uid,
        series_number=identity.series_number,
        sop_instance_uid=identity.sop_uid,
        instance_number=1,
        manufacturer=PRODUCT,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    report.SeriesDescription = DESCRIPTION
    report.ManufacturerModelName = PRODUCT
    report.SoftwareVersions = version(PRODUCT)
    report.DeviceSerialNumber = model.words
    return report


def _observed_by(model: ModelIdentity) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(prefix="2.25.", entropy_srcs=[PRODUCT, model.manifest_sha256]),
        name=PRODUCT,
        manufacturer_name=PRODUCT,
        model_name=model.model_id,
        serial_number=model.manifest_sha256,
    )
    return ObservationContext(
        observer_person_context=None,
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        ),
    )


def _algorithm(model: ModelIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=PRODUCT,
        version=f"{version(PRODUCT)}, model {model.model_id}",
        parameters=[f"manifest SHA-256 {model.manifest_sha256}"],
        family=codes.cid7162.ArtificialIntelligence,
    )


def _image_group(
    image: ExamImage, model: ModelIdentity
) -> PlanarROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations:
    header, outcome = image.header, image.outcome
    tracking = TrackingIdentifier(
        uid=generate_uid(prefix="2.25.", entropy_srcs=[PRODUCT, "image", str(header.SOPInstanceUID)]),
        identifier=f"Image {header.get('InstanceNumber') or ''}".strip(),
    )
    if isinstance(outcome, Reason):
        why = CodedConcept(outcome.value, OURS, f"Not measured: {outcome.value.replace('-', ' ')}")
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            algorithm_id=_algorithm(model),
            qualitative_evaluations=[
                QualitativeEvaluation(name=CodedConcept("OUTCOME", OURS, "Outcome"), value=why),
                NOTICE,
            ],
            source_images=[SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
        )
    density = outcome.density
    assert image.segmentation_uid is not None  # of what was measured there is one
    breast = ReferencedSegmentationFrame(
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=image.segmentation_uid,
        frame_number=BREAST_SEGMENT,
        segment_number=BREAST_SEGMENT,
        source_image=SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID),
    )
    # The frame says which segment it is of; beside it the number must not stand (PS3.3 10.3).
    del breast[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_segment=breast,
        finding_type=codes.SCT.Breast,
        algorithm_id=_algorithm(model),
        finding_sites=[_site(outcome.laterality)],
        measurements=[
            *_measurements(density.percent_density, density.breast_area_mm2, density.dense_area_mm2),
            Measurement(name=UNCERTAINTY, value=round(outcome.uncertainty, 4), unit=BITS),
        ],
        qualitative_evaluations=[NOTICE],
    )


def _breast_group(breast: BreastDensity, model: ModelIdentity) -> MeasurementsAndQualitativeEvaluations:
    side = breast.laterality.name.capitalize()
    return _summary(f"{side} breast, mean of {' and '.join(breast.views)}", breast, model, ())


def _woman_group(
    exam: ExamDensity, denser: BreastDensity, model: ModelIdentity
) -> MeasurementsAndQualitativeEvaluations:
    said = () if exam.calibration is None else (denser.band,)
    return _summary("Both breasts, the denser one", denser, model, said)


def _suggestion_group(suggestion: Suggestion, model: ModelIdentity) -> MeasurementsAndQualitativeEvaluations:
    """What may follow, apart from what was measured, under a label of its own and with its reason."""
    risk = suggestion.five_year_risk_percent
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier=LABEL),
        algorithm_id=_algorithm(model),
        measurements=[]
        if risk is None
        else [Measurement(name=FIVE_YEAR_RISK, value=round(risk, 2), unit=codes.UCUM.Percent)],
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=CodedConcept("FOLLOW-UP", OURS, "Suggested next image"),
                value=CodedConcept(suggestion.code, OURS, suggestion.words),
            ),
            NOTICE,
        ],
    )
    words = (
        f"{suggestion.reason} Known beside the images: {suggestion.basis}. Evidence, as of "
        f"{suggestion.as_of}: {suggestion.evidence}"
    )
    group[0].ContentSequence.append(
        TextContentItem(name=codes.DCM.Comment, value=words, relationship_type="CONTAINS")
    )
    return group


def _summary(
    words: str, breast: BreastDensity, model: ModelIdentity, said: tuple[Band, ...]
) -> MeasurementsAndQualitativeEvaluations:
    """A group of a breast; with a category if it may be said."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier=words),
        finding_type=codes.SCT.Breast,
        algorithm_id=_algorithm(model),
        finding_sites=[_site(breast.laterality)],
        measurements=[
            *_measurements(breast.percent_density, breast.breast_area_mm2, breast.dense_area_mm2),
            *(_probability(band, breast.likely_band) for band in said if breast.likely_band is not None),
        ],
        qualitative_evaluations=[
            *(QualitativeEvaluation(name=COMPOSITION, value=CATEGORIES[band]) for band in said),
            NOTICE,
        ],
    )


def _probability(band: Band, likely: DensityBand) -> Measurement:
    return Measurement(
        name=PROBABILITY, value=round(likely.probabilities[BANDS.index(band)], 3), unit=codes.UCUM.NoUnits
    )


def _measurements(
    percent_density: float, breast_area_mm2: float | None, dense_area_mm2: float | None
) -> list[Measurement]:
    measured = [Measurement(name=PERCENT_DENSITY, value=round(percent_density, 2), unit=codes.UCUM.Percent)]
    for area_mm2, site in ((breast_area_mm2, codes.SCT.Breast), (dense_area_mm2, DENSE_TISSUE)):
        if area_mm2 is not None:
            measured.append(
                Measurement(
                    name=AREA,
                    value=round(area_mm2, 1),
                    unit=SQUARE_MM,
                    finding_sites=[FindingSite(anatomic_location=site)],
                )
            )
    return measured


def _site(laterality: Laterality | None) -> FindingSite:
    return FindingSite(
        anatomic_location=codes.SCT.Breast, laterality=None if laterality is None else SIDES[laterality]
    )


def _segmentation_of(image: ExamImage) -> Dataset:
    """What a report says of the segmentation that it refers to."""
    reference = Dataset()
    reference.StudyInstanceUID = image.header.StudyInstanceUID
    reference.SeriesInstanceUID = image.segmentation_series_uid
    reference.SOPClassUID = SegmentationStorage
    reference.SOPInstanceUID = image.segmentation_uid
    return reference
