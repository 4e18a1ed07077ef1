"""`mammofed-site data presegment` and `data masks`: from images without masks to those that readers drew."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from client.cli_data import acting_on, data_app, intake_rules, opened, refusal_json, show_refusals
from client.cli_options import HOME, HomeOption, JsonOption, day
from client.home import SiteHome
from shared.errors import EmptySourceError
from shared.persons.roles import Action
from shared.terminal import Output

masks_app = typer.Typer(help="Masks that readers drew or corrected.", no_args_is_help=True)


@data_app.command("presegment")
def presegment_command(
    source: Annotated[Path, typer.Argument(help="Folder of mammograms, or DICOMDIR.")],
    model_folder: Annotated[Path, typer.Option("--model", help="Folder of a downloaded model.")],
    drafts: Annotated[Path, typer.Option("--output", help="Folder for the drafts.")],
    form: Annotated[
        Literal["seg", "labelme"],
        typer.Option(help="DICOM Segmentation for 3D Slicer or OHIF, or LabelMe's JSON."),
    ] = "seg",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Let a model draw drafts of masks for images that have none.

    A reader corrects the drafts in the usual tools, and `data masks add` takes them back. Images that have a
    mask, beside them or at this site, are passed over, and so are drafts that are there already. Drafts name
    or show their patients and are for this hospital alone.
    """
    from client.annotation.presegment import presegment
    from client.intake.listing import MASKS_FOLDER, top_of
    from client.intake.masks import open_masks
    from client.intake.sources import list_images
    from client.using import load_model

    output = Output(as_json)
    model = load_model(SiteHome(home), model_folder)
    with opened(home) as (site, catalog), output.progress("Drawing drafts") as advance:
        masks, pseudonyms = open_masks(top_of(source) / MASKS_FOLDER), catalog.pseudonyms()

        def is_masked(source_id: str) -> bool:
            known = catalog.find_source(pseudonyms.source(source_id))
            return masks.drawn_by_reader(source_id) is not None or (known is not None and known.has_mask)

        report = presegment(
            list_images(source, without_mask=True),
            model,
            drafts,
            form,
            advance,
            is_masked=is_masked,
            note_draft=lambda key, sha256: catalog.drafts.note(
                pseudonyms.source(key), pseudonyms.content(sha256)
            ),
            rules=intake_rules(site),
            workers=site.settings().intake.workers,
        )
    show_refusals(output, report.refusals)
    output.result(
        {
            "written": report.written,
            "already_there": report.already_there,
            "masked": report.masked,
            "not_used": [refusal_json(one) for one in report.refusals],
            "ignored_files": report.num_ignored,
        },
        f"{report.written} drafts written, {report.already_there} there already; {report.masked} images have "
        f"a mask, {len(report.refusals)} are not of use. Drafts are to be corrected by a reader.",
    )


@masks_app.command("add")
def masks_add(
    folder: Annotated[Path, typer.Argument(help="Folder of masks, drafts corrected by a reader among them.")],
    annotator: Annotated[str, typer.Option(help="Who drew or corrected them, such as a reader's initials.")],
    drawn_on: Annotated[str, typer.Option("--date", help="When, as YYYY-MM-DD; today if left out.")] = "",
    version: Annotated[str, typer.Option(help="Version of the masks, in your own words.")] = "1",
    approved: Annotated[
        bool,
        typer.Option(
            "--approved", help="The reader stands by every mask, a model's untouched draft included."
        ),
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take masks in for images that are here already, new ones or corrected ones.

    A mask is matched to its image by the SOP Instance UID or the file's digest, which it is named after or
    refers to, and checked for size, values and overlap. Label maps need a `values.toml`. A draft of a model
    that nobody has corrected is refused, unless the reader approves of it as it is.
    """
    from client.holdings import MaskOrigin
    from client.intake.mask_import import add_masks
    from shared.audit.events import MasksAdded

    output = Output(as_json)
    origin = MaskOrigin(
        kind="mask",
        annotator=annotator,
        drawn_on=(day(drawn_on) if drawn_on else date.today()).isoformat(),
        version=version,
    )
    with (
        acting_on(home, Action.DATA_IMPORT) as (site, catalog, actor),
        output.progress("Adding masks") as advance,
    ):
        report = add_masks(
            folder, catalog, origin, advance, approved=approved, workers=site.settings().intake.workers
        )
        told = MasksAdded(
            subject="masks",
            num_masks=report.added,
            num_unmatched=len(report.unmatched),
            num_refused=len(report.refusals),
        )
        catalog.log.append(told, actor=actor, at=time.time())
    refusals = (*report.unmatched, *report.refusals)
    show_refusals(output, refusals, locate_by="data masks locate FOLDER NUMBER")
    output.result(
        {
            "added": report.added,
            "unmatched": len(report.unmatched),
            "not_used": [refusal_json(one) for one in refusals],
        },
        f"{report.added} masks added, {len(report.unmatched)} of images that are not here, "
        f"{len(report.refusals)} refused.",
    )


@masks_app.command("locate")
def masks_locate(
    folder: Annotated[Path, typer.Argument(help="Folder that was given to `data masks add`.")],
    position: Annotated[
        int, typer.Argument(metavar="NUMBER", help="Number in the list of those not used.", min=1)
    ],
    as_json: JsonOption = False,
) -> None:
    """Say which file of a folder of masks has a number; reports name files by number alone."""
    from client.intake.masks import name_at

    name = name_at(folder, position)
    if name is None:
        raise EmptySourceError("The folder has no file of that number.", "Take a number from the report.")
    Output(as_json).result({"name": name}, name)
