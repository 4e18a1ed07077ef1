"""`mammofed-site data presegment` and `data masks`: from images without masks to those that readers drew."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import typer

from client.cli_data import data_app, importer_of, opened, refusal_json, show_refusals
from client.cli_options import HOME, HomeOption, JsonOption, day
from client.home import SiteHome
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
    from client.intake.pseudonyms import Pseudonyms
    from client.intake.sources import list_images
    from client.using import load_model

    output = Output(as_json)
    model = load_model(SiteHome(home), model_folder)
    with opened(home) as (site, catalog), output.progress("Drawing drafts") as advance:
        masks, pseudonyms = open_masks(top_of(source) / MASKS_FOLDER), Pseudonyms.open(catalog.home)

        def is_masked(source_id: str) -> bool:
            known = catalog.find_source(pseudonyms.source(source_id))
            return source_id in masks or (known is not None and known.has_mask)

        report = presegment(
            list_images(source),
            model,
            drafts,
            form,
            advance,
            is_masked=is_masked,
            rules=importer_of(site, catalog).rules,
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
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take masks in for images that are here already, new ones or corrected ones.

    A mask is matched to its image by the SOP Instance UID or the file's digest, which it is named after or
    refers to, and checked for size, values and overlap. Label maps need a `values.toml`.
    """
    from client.intake.mask_import import add_masks

    output = Output(as_json)
    origin_date = day(drawn_on) if drawn_on else date.today()
    with opened(home) as (_, catalog), output.progress("Adding masks") as advance:
        report = add_masks(
            folder, catalog, annotator=annotator, drawn_on=origin_date, version=version, progress=advance
        )
    show_refusals(output, report.refusals)
    output.result(
        {
            "added": report.added,
            "unmatched": report.unmatched,
            "not_used": [refusal_json(one) for one in report.refusals],
        },
        f"{report.added} masks added, {report.unmatched} of images that are not here, "
        f"{len(report.refusals)} refused.",
    )
