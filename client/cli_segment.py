"""`mammofed-site segment`: the density of one mammogram, or of a folder of them."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.acting import open_for
from client.cli_data import refusal_json, show_refusals
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.errors import EmptySourceError, StoreError, UndecodableError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from client.clinic.examination import Examination
    from client.clinic.folder import ExamFolder
    from client.clinic.following import FollowUp
    from client.inference.report import DensityReport
    from client.using import UsableModel

Note = Callable[[int], None]
"""Writes down how many images were segmented."""


def segment_command(
    source: Annotated[
        Path, typer.Argument(help="A mammogram (DICOM, or a PNG of one), or a folder or DICOMDIR of them.")
    ],
    model_folder: Annotated[
        Path | None,
        typer.Option(
            "--model", help="Folder of a downloaded model.  [default: the model in use]", show_default=False
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(help="Where to write the overlay picture (PNG); for many images, a folder of them."),
    ] = None,
    dicom_folder: Annotated[
        Path | None,
        typer.Option(
            "--dicom",
            help="New folder for DICOM objects of the same studies: segments (SEG), overlay (Secondary "
            "Capture) of each image, a structured report of each exam.",
        ),
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="See every image upside down too; takes twice as long.")
    ] = False,
    personal: Annotated[
        bool,
        typer.Option("--personal", help="With the layers that this site has made its own, if it keeps any."),
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure the density of a mammogram, or of a folder of them, with a downloaded model.

    The model is verified against the coordinator of this site first. An image unlike those that it was
    trained on gets a reason and no number; so does an implant or a spot view. In a folder, an image that
    cannot be used costs itself alone, and images go by number, because file names may name patients:
    `data locate` tells which file has a number.
    Research use; not for diagnosis.
    """
    from client.catalog import Catalog
    from client.clinic.following import following
    from client.intake.dicomdir import is_dicomdir
    from client.intake.listing import is_folder
    from client.models import in_use
    from client.using import load_model

    output, opened = Output(as_json), SiteHome(home)
    settings = opened.settings()
    model = load_model(opened, model_folder or in_use(opened), flips=flips, personal=personal)
    site, actor = open_for(home, Action.MODEL_USE)
    if personal and not model.loaded.has_own_layers and not as_json:
        output.console.print("This site keeps the published model as it is; `plan show` tells why.")

    def note(num_images: int) -> None:
        site.log.append(model.used(num_images=num_images), actor=actor, at=time.time())

    follow_up = following(Catalog.open(home, encrypted=settings.intake.encrypted), settings.follow_up)
    if is_folder(source) or is_dicomdir(source):
        workers = settings.intake.workers
        _segment_many(source, model, overlay, dicom_folder, follow_up, output, note, workers=workers)
    else:
        _segment_one(source, model, overlay, dicom_folder, follow_up, output, note)


def _segment_one(
    image: Path,
    model: UsableModel,
    overlay: Path | None,
    dicom_folder: Path | None,
    follow_up: FollowUp | None,
    output: Output,
    note: Note,
) -> None:
    from client.inference.reading import read_image
    from client.using import segment, write_overlay

    objects = _exam_folder(dicom_folder, model, follow_up)
    segmentation = segment(model, read_image(image))
    note(1)
    if objects is not None:
        refused = objects.add(1, image, segmentation)
        if refused is not None:
            raise UndecodableError(refused.message, refused.remedy)
        objects.finish()
    if overlay is not None:
        write_overlay(segmentation, overlay)
    report = segmentation.report
    output.result(report.to_json(), "\n".join([report.headline(), *report.details()]))


def _exam_folder(folder: Path | None, model: UsableModel, follow_up: FollowUp | None) -> ExamFolder | None:
    # With it comes highdicom, which takes seconds: only who asks for objects waits for it.
    if folder is None:
        return None
    from client.clinic.folder import ExamFolder
    from client.clinic.identity import ModelIdentity

    return ExamFolder(folder, ModelIdentity.of(model.package), follow_up)


def _segment_many(
    source: Path,
    model: UsableModel,
    overlays: Path | None,
    dicom_folder: Path | None,
    follow_up: FollowUp | None,
    output: Output,
    note: Note,
    *,
    workers: int,
) -> None:
    from client.inference.reading import may_be_image
    from client.intake.candidates import Refusal
    from client.intake.sources import list_images
    from client.using import segment_all, write_overlay

    if overlays is not None and overlays.exists() and (not overlays.is_dir() or any(overlays.iterdir())):
        raise StoreError("The folder for the overlays is not empty.", "Name a new one with --overlay.")
    objects = _exam_folder(dicom_folder, model, follow_up)
    reports: dict[int, DensityReport] = {}
    refusals: list[Refusal] = []
    files = list_images(source)
    images = [(position, path) for position, path in files if may_be_image(path)]
    if not images:
        raise EmptySourceError("There is no image in the folder.", "Name a folder of mammograms, or one.")
    try:
        with output.progress("Segmenting") as advance:
            paths = dict(images)
            for position, measured in segment_all(model, images, advance, workers=workers):
                refused = None if objects is None else objects.add(position, paths[position], measured)
                outcome = refused or measured
                if isinstance(outcome, Refusal):
                    refusals.append(outcome)
                else:
                    if overlays is not None:
                        write_overlay(outcome, overlays / f"{position}.png")
                    reports[position] = outcome.report
    finally:
        if reports:
            note(len(reports))
    exams = [] if objects is None else objects.finish()
    if output.as_json:
        output.json(
            {
                **({} if objects is None else {"exams": [exam.to_json() for exam in exams]}),
                "images": [{"position": place, **report.to_json()} for place, report in reports.items()],
                "not_used": [refusal_json(one) for one in refusals],
                "ignored_files": len(files) - len(images),
            }
        )
        return
    output.table("Densities", [_row(place, report) for place, report in reports.items()], empty="")
    if exams:
        output.table("Exams", [_exam_row(exam) for exam in exams], empty="")
    show_refusals(output, refusals)
    output.result({}, f"{len(reports)} mammograms measured, {len(refusals)} not used.")


def _exam_row(examination: Examination) -> Mapping[str, object]:
    exam, suggestion = examination.density, examination.suggestion
    of_side = {breast.laterality.value: f"{breast.percent_density:.1f}" for breast in exam.breasts}
    return {
        "left_%": of_side.get("L", ""),
        "right_%": of_side.get("R", ""),
        "denser": "" if exam.denser is None else exam.denser.laterality.value,
        "band": "" if exam.denser is None else exam.denser.band,
        **({} if suggestion is None else {"suggestion": f"{suggestion.words}. {suggestion.reason}"}),
    }


def _row(position: int, report: DensityReport) -> Mapping[str, object]:
    return {
        "number": position,
        "view": report.view or "",
        "side": report.laterality or "",
        "density_%": f"{report.density.percent_density:.1f}",
        "expert_%": ""
        if report.interval_percent is None
        else "{:.0f} to {:.0f}".format(*report.interval_percent),
        "band": f"{report.band}{', second read' if report.second_read else ''}",
        "uncertainty": f"{report.uncertainty:.2f}",
        "warnings": " ".join(report.warnings),
    }
