"""One exam: its images measured one by one, and the objects that its study gets.

Only the headers and numbers of an exam are held until its report; an image's pixels go with its objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from client.annotation.dicom_seg import SegTerms, draw_segmentation
from client.clinic.exam import ExamDensity, exam_density
from client.clinic.following import FollowUp
from client.clinic.identity import DESCRIPTION, Kind, ModelIdentity, identify
from client.clinic.overlay import draw_capture
from client.clinic.sr import ExamImage, draw_report
from client.followup.suggestion import Suggestion, suggest
from client.imaging.mammogram import Laterality
from client.inference.reading import ReadImage
from client.inference.report import DensityReport
from client.inference.segment import Segmentation
from client.intake.candidates import Refusal
from client.intake.exclusions import Reason, reason_of
from client.using import UsableModel, segment
from shared.errors import IntakeError

OVERLAYS: Mapping[Laterality, Kind] = {Laterality.LEFT: "overlay-L", Laterality.RIGHT: "overlay-R"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnObject:
    """An object for the archive; what names its patient is left out of its printed form.

    Attributes
    ----------
    kind
        `segmentation`, `overlay` or `report`.
    content
        A Part 10 file.
    """

    kind: str
    sop_uid: str = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(kw_only=True)
class Examination:
    """The images of one study, as they come.

    Attributes
    ----------
    follow_up
        What may be suggested after it; None is nothing.
    """

    model: ModelIdentity
    follow_up: FollowUp | None = None
    images: list[ExamImage] = field(default_factory=list)

    @property
    def num_measured(self) -> int:
        """Images with a number."""
        return sum(isinstance(one.outcome, DensityReport) for one in self.images)

    @property
    def density(self) -> ExamDensity:
        """Of what was measured so far."""
        return exam_density([one.outcome for one in self.images if isinstance(one.outcome, DensityReport)])

    @property
    def suggestion(self) -> Suggestion | None:
        """What may follow; None where nothing may be suggested."""
        if self.follow_up is None or not self.images:
            return None
        header = self.images[0].header
        inputs = self.follow_up.inputs_of(str(header.get("PatientID") or ""))
        return suggest(self.density, self.follow_up.settings, age=age_of(header), inputs=inputs)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; a suggestion only where there is one."""
        suggestion = self.suggestion
        follow_up = {} if suggestion is None else {"follow_up": suggestion.to_json()}
        return {**self.density.to_json(), **follow_up}

    def add(self, header: Dataset, outcome: Segmentation | Reason) -> list[DrawnObject]:
        """Take an image of the study and draw its objects; none of one that was not measured.

        Parameters
        ----------
        header
            As `read_source` gives it.

        Raises
        ------
        UndecodableError
            Its header lacks or garbles what they must repeat; then it is no part of the exam.
        """
        if isinstance(outcome, Reason):
            self.images.append(ExamImage(header=header, outcome=outcome))
            return []
        number = len(self.images) + 1
        of_image = (str(header.StudyInstanceUID), (str(header.SOPInstanceUID),))
        seg = identify(*of_image, "segmentation", self.model)
        terms = SegTerms(
            content_label="DENSITY",
            description=DESCRIPTION,
            algorithm_version=self.model.words,
            serial_number=self.model.words,
            series_description=DESCRIPTION,
            series_uid=seg.series_uid,
            sop_uid=seg.sop_uid,
            series_number=seg.series_number,
            instance_number=number,
        )
        side = outcome.report.laterality
        shown = identify(*of_image, "overlay" if side is None else OVERLAYS[side], self.model)
        drawn = [
            DrawnObject(
                kind="segmentation",
                sop_uid=seg.sop_uid,
                content=draw_segmentation(header, outcome.source_labels(), terms),
            ),
            DrawnObject(
                kind="overlay",
                sop_uid=shown.sop_uid,
                content=draw_capture(
                    header, outcome.overlay(), self.model, shown, number=number, laterality=side
                ),
            ),
        ]
        self.images.append(
            ExamImage(
                header=header,
                outcome=outcome.report,
                segmentation_uid=seg.sop_uid,
                segmentation_series_uid=seg.series_uid,
            )
        )
        return drawn

    def report(self) -> DrawnObject:
        """The report of what there is. Raises UndecodableError."""
        first = self.images[0].header
        uids = tuple(str(one.header.SOPInstanceUID) for one in self.images)
        identity = identify(str(first.StudyInstanceUID), uids, "report", self.model)
        content = draw_report(self.images, self.model, identity, self.suggestion)
        return DrawnObject(kind="report", sop_uid=identity.sop_uid, content=content)


def age_of(header: Dataset) -> int | None:
    """Age in years at the study (PS3.5 6.2, VR AS), or by the date of birth; None if neither is told."""
    age = str(header.get("PatientAge") or "")
    if re.fullmatch(r"[0-9]{3}Y", age):
        return int(age[:3])
    born, seen = str(header.get("PatientBirthDate") or ""), str(header.get("StudyDate") or "")
    if re.fullmatch(r"[0-9]{8}", born) and re.fullmatch(r"[0-9]{8}", seen) and born <= seen:
        return int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
    return None


def measured(model: UsableModel, read: ReadImage | Refusal) -> Segmentation | Reason:
    """An image that has been read, segmented, or why it is not."""
    if isinstance(read, Refusal):
        return read.reason
    try:
        return segment(model, read)
    except IntakeError as error:
        return reason_of(error)
