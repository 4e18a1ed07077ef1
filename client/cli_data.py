"""`mammofed-site data`: bringing mammograms and masks in, looking at them, and taking them out again."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.acting import open_for
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from client.intake.exclusions import IntakeRules, Reason
from shared.errors import ConfigError, EmptySourceError, StoreError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from client.catalog import Catalog
    from client.intake.candidates import Refusal
    from client.intake.importer import Importer, ImportReport
    from client.withdrawal import Withdrawal

data_app = typer.Typer(help="This hospital's mammograms.", no_args_is_help=True)

SecondaryCapture = Annotated[
    bool,
    typer.Option("--accept-secondary-capture", help="Take Secondary Captures with modality MG as well."),
]
UNPACKING = "Unpacking an archive (MB)"
IMPORT_STAGES = ("Looking through files", UNPACKING, "Preparing mammograms")
Lossy = Annotated[
    bool, typer.Option("--accept-lossy", help="Take images that were compressed with loss as well.")
]


@data_app.command("add")
def add(
    source: Annotated[Path, typer.Argument(help="Folder of mammograms, DICOMDIR, zip or tar.")],
    accept_secondary_capture: SecondaryCapture = False,
    accept_lossy: Lossy = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Prepare mammograms for training. The source stays as it is.

    Takes DICOM files (found by content, in zips and tars too) with masks in a folder `masks`, or a research
    archive whose `index.csv` lists images and masks. Masks may be label maps with a `values.toml`, DICOM
    segmentations, or outlines of LabelMe or COCO. What is kept is cropped to the breast, carries no
    identifier and is encrypted; an image that is here already is not taken twice, and one without a mask
    waits for it.
    """
    from client.intake.importer import Stages

    output = Output(as_json)
    with (
        acting_on(home, Action.DATA_IMPORT, may_begin=True) as (site, catalog, actor),
        output.stages(*IMPORT_STAGES) as advances,
    ):
        importer = importer_of(site, catalog, actor, accept_secondary_capture, accept_lossy)
        report = importer.bring_in(
            source, Stages(*advances), on_failure=lambda report: show_end(output, report)
        )
        counts = catalog.counts()
    show_import(output, report)
    parts = {part.value: number for part, number in counts.by_part.items()}
    output.result(
        {**import_json(report), "examples": counts.examples, "labelled": counts.labelled, "parts": parts},
        f"The site now has {counts.examples} examples of {counts.patients} patients, {counts.labelled} with "
        f"masks: {', '.join(f'{number} {part}' for part, number in parts.items())}.",
    )


@data_app.command("locate")
def locate(
    source: Annotated[Path, typer.Argument(help="What was imported.")],
    place: Annotated[
        str,
        typer.Argument(
            metavar="NUMBER",
            help="Number in the list of those not used; ARCHIVE:NUMBER in a zip or tar, masks:NUMBER.",
        ),
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Say which file of a source has a number.

    Reports name files by number alone, because file names may name patients. For a file in a zip or tar, the
    archive is unpacked into the home folder once more, and deleted there.
    """
    from client.incoming import unpacked_folder
    from client.intake.sources import locate as locate_file
    from client.intake.sources import locate_packed

    output = Output(as_json)
    archive, in_masks, position = _numbers(place)
    if archive is None:
        name = locate_file(source, position, in_masks=in_masks)
    else:
        with (
            opened(home) as (_, catalog),
            catalog.importing(),  # imports clear what others have unpacked
            output.progress(UNPACKING) as advance,
        ):
            spool = unpacked_folder(home)
            name = locate_packed(source, archive, position, spool, advance, in_masks=in_masks)
    if name is None:
        raise EmptySourceError("The source has no file of that number.", "Take a number from the report.")
    output.result({"name": name}, name)


@data_app.command("report")
def report(
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Say whether the data suffice for this plan.")
    ] = None,
    page_file: Annotated[
        Path | None, typer.Option("--page", help="Write the page (HTML) to this file.")
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show what the data set holds, what was left out and why, and whether it suffices for a plan.

    The page has histograms and a contact sheet of random examples with the outlines of their masks. It is
    for this hospital alone and is sent nowhere.
    """
    from client.reporting.contact_sheet import draw_contact_sheet
    from client.reporting.measurement import measure
    from client.reporting.page import render_page
    from client.reporting.report import describe
    from shared.audit.events import ReportWritten
    from shared.pages import write_page
    from shared.plan import Plan

    plan = None if plan_file is None else Plan.from_toml(_content(plan_file))
    actor = "" if page_file is None else open_for(home, Action.DATA_SHOW)[1]
    output = Output(as_json)
    with opened(home) as (site, catalog):
        title = site.membership().site_name if site.has_joined() else "This site"
        described = describe(catalog, title=title, at=datetime.now().astimezone(), plan=plan)
        if page_file is not None:
            with output.progress("Measuring examples") as advance:
                histograms = measure(catalog, advance)
            sheet = draw_contact_sheet(catalog, seed=secrets.randbits(32))
            written = ReportWritten(subject="report", num_examples=described.examples)
            catalog.log.append(written, actor=actor, at=time.time())
            write_page(render_page(described, histograms, sheet), page_file)
    if as_json:
        output.json(described.to_json())
        return
    for name, rows in described.tables().items():
        output.table(name, rows, empty="")
    output.result(
        {},
        f"{described.examples} examples of {described.patients} patients, {described.labelled} with masks."
        + (" The page is written; it stays at this hospital." if page_file else ""),
    )


@data_app.command("verify")
def verify(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Read every example back and check that no byte of it has changed."""
    output = Output(as_json)
    with opened(home) as (_, catalog), output.progress("Checking examples") as advance:
        result = catalog.verify(advance)
    output.result(
        {"checked": result.checked, "damaged": list(result.damaged)},
        f"{result.checked} examples checked, {len(result.damaged)} damaged.",
    )
    if result.damaged:
        raise StoreError(
            "Examples are damaged and cannot be used.",
            "Check the disk; import their source again after `data remove`, or restore a backup of the home.",
        )


@data_app.command("remove")
def remove(
    patient: Annotated[
        str, typer.Option("--patient", help="The hospital's own patient identifier, as its files have it.")
    ],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Honour a patient's withdrawal of consent.

    The patient's examples are overwritten and gone, with her images and results that wait in the clinic's
    node, and with what was known beside the images. Later rounds run without them, later imports leave the
    patient out, and the node measures none of her images. Models that were trained with them are listed.
    """
    from client.withdrawal import withdraw

    with acting_on(home, Action.DATA_REMOVE) as (_, catalog, actor):
        withdrawal = withdraw(catalog, patient, actor=actor)
    output = Output(as_json)
    _show_withdrawal(output, withdrawal)
    if not as_json and withdrawal.removal.examples:
        output.result({}, "Later imports leave this patient out.")
    elif not as_json:
        output.result(
            {},
            "WARNING: no example was removed. If this patient's images were imported, they have another "
            "identifier:\n  look it up in their files (Patient ID) or in index.csv, and remove again. "
            "Later imports leave out the one that was given.",
        )


@data_app.command("forget")
def forget(
    sure: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Remove every example of this site: for leaving the study. The source folders stay as they are."""
    if not sure and not typer.confirm("Remove every example of this site?"):
        raise ConfigError("Nothing was removed.", "Answer yes, or give --yes.")
    from client.withdrawal import forget as forget_all

    with acting_on(home, Action.DATA_REMOVE) as (_, catalog, actor):
        withdrawal = forget_all(catalog, actor=actor)
    _show_withdrawal(Output(as_json), withdrawal)


@contextmanager
def opened(home: Path, *, may_begin: bool = False) -> Iterator[tuple[SiteHome, Catalog]]:
    """A site's home and its catalog, as its settings want it.

    Parameters
    ----------
    may_begin
        Make the home if it is not there: for a command that brings something in.
    """
    from client.catalog import Catalog

    site = SiteHome(home)
    if not may_begin:
        site.check_in_use()
    with Catalog.open(home, encrypted=site.settings().intake.encrypted) as catalog:
        yield site, catalog


@contextmanager
def acting_on(
    home: Path, action: Action, *, may_begin: bool = False
) -> Iterator[tuple[SiteHome, Catalog, str]]:
    """As `opened`, with the name of who acts, whose role is enough for the action."""
    if not may_begin:
        SiteHome(home).check_in_use()
    _, actor = open_for(home, action)
    with opened(home, may_begin=may_begin) as (site, catalog):
        yield site, catalog, actor


def importer_of(
    site: SiteHome,
    catalog: Catalog,
    actor: str,
    accept_secondary_capture: bool = False,
    accept_lossy: bool = False,
) -> Importer:
    """An importer by the site's settings, and what one command waives beyond them."""
    from client.intake.importer import Importer

    return Importer(
        catalog=catalog,
        actor=actor,
        rules=intake_rules(site, accept_secondary_capture, accept_lossy),
        workers=site.settings().intake.workers,
    )


def intake_rules(
    site: SiteHome, accept_secondary_capture: bool = False, accept_lossy: bool = False
) -> IntakeRules:
    """What the site's settings take, and what one command takes beyond them."""
    settings = site.settings().intake
    return IntakeRules(
        accept_secondary_capture=settings.accept_secondary_capture or accept_secondary_capture,
        accept_lossy=settings.accept_lossy or accept_lossy,
        min_rows_px=settings.min_rows_px,
    )


def import_json(report: ImportReport) -> dict[str, object]:
    """An import for machines."""
    return {
        "kind": report.kind,
        "added": report.added,
        "masks_added": report.masks_added,
        "completed": report.completed,
        "already_there": report.already_there,
        "excluded": dict(report.excluded),
        "quarantined": dict(report.quarantined),
        "not_used": [refusal_json(one) for one in report.refusals],
        "ignored_files": report.num_ignored,
    }


def refusal_json(refusal: Refusal) -> dict[str, object]:
    """An image that was not used, for machines."""
    return {
        "place": refusal.place,
        "archive": refusal.archive,
        "position": refusal.position,
        "reason": refusal.reason.value,
        "message": refusal.message,
        "remedy": refusal.remedy,
    }


def show_end(output: Output, report: ImportReport) -> None:
    """What an import had done before an error or an interrupt ended it."""
    output.result(import_json(report), "The import did not end; what came in before stays:")
    show_import(output, report)


def show_import(output: Output, report: ImportReport, *, located: bool = True) -> None:
    """An import for persons: what came in, and by reason what did not; see `show_refusals`."""
    if output.as_json:
        return
    output.result({}, f"{report.kind}: {report.added} added, {report.already_there} already here.")
    if report.masks_added:
        output.result({}, f"  {report.masks_added} masks added to images that were here without one.")
    if report.completed:
        output.result({}, f"  {report.completed} images that were here have got a year or a density.")
    show_refusals(output, report.refusals, located=located)


def show_refusals(
    output: Output,
    refusals: Sequence[Refusal],
    *,
    located: bool = True,
    locate_by: str = "data locate SOURCE NUMBER",
) -> None:
    """What was not used, by reason and in each one's own words, for persons.

    Parameters
    ----------
    located
        Whether the positions are those of a source that the person can ask for a file.
    locate_by
        The command that does so.
    """
    if output.as_json:
        return
    alike: dict[tuple[Reason, str, str], list[Refusal]] = {}
    for one in refusals:
        alike.setdefault((one.reason, one.message, one.remedy), []).append(one)
    for (reason, message, remedy), group in alike.items():
        word = "quarantined" if group[0].quarantined else "excluded"
        output.result({}, f"  {len(group)} {word} ({reason.value}): {message} {remedy}")
        if located:
            output.result({}, f"    at {_few(list(dict.fromkeys(one.place for one in group)))}")
    if refusals and located:
        output.result({}, f"  `mammofed-site {locate_by}` names the file at a number.")


def _few(places: list[str], most: int = 12) -> str:
    shown = ", ".join(places[:most])
    return shown if len(places) <= most else f"{shown} and {len(places) - most} more"


def _numbers(place: str) -> tuple[int | None, bool, int]:
    """The archive's number, if the file lies in one; whether it is a mask's; the file's number."""
    found = re.fullmatch(r"(?:([0-9]{1,9}):)?(masks:)?([0-9]{1,9})", place)
    if found is None:
        raise ConfigError(
            "The file's number is not a number.",
            "Give it as the report does, such as 12, 12:7 in an archive, or masks:3.",
        )
    archive, masks, position = found.groups()
    return None if archive is None else int(archive), masks is not None, int(position)


def _show_withdrawal(output: Output, withdrawal: Withdrawal) -> None:
    output.result(withdrawal.to_json(), withdrawal.words)


def _content(plan_file: Path) -> bytes:
    try:
        return plan_file.read_bytes()
    except OSError as error:
        raise ConfigError("The plan's file cannot be read.", "Check its name.") from error
