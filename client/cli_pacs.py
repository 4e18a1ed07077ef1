"""`mammofed-site pacs`, and the commands of `data` that speak with an archive."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_data import (
    acting_on,
    data_app,
    import_json,
    importer_of,
    refusal_json,
    show_import,
    show_refusals,
)
from client.cli_options import HOME, HomeOption, JsonOption, day
from client.home import SiteHome
from client.imaging.mammogram import View
from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from client.intake.importer import ImportReport
    from client.pacs.archive import Archive

pacs_app = typer.Typer(help="The archives that `site.toml` names.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the archive in `site.toml`.")]


@pacs_app.command("check")
def check(name: Name, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Say whether an archive answers: C-ECHO over DICOM, a query for nothing over DICOMweb."""
    _archive(SiteHome(home), name).check()
    Output(as_json).result({"name": name, "answers": True}, f"'{name}' answers.")


@data_app.command("pull")
def pull_command(
    name: Name,
    since: Annotated[str, typer.Option("--from", help="First day of the studies, YYYY-MM-DD.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last day of the studies, YYYY-MM-DD.")] = "",
    view: Annotated[View | None, typer.Option(help="This projection alone.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many studies that bring anything new.")
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Bring mammograms in from an archive, patient by patient.

    An interrupted pull goes on where it stopped; nothing is fetched or taken twice. What is fetched lies in
    the home folder for as long as it is being imported, and is deleted then.
    """
    from client.incoming import pulled_folder
    from client.pacs.archive import Query
    from client.pulling import pull

    query = Query(
        from_date=day(since) if since else None,
        until_date=day(until) if until else None,
        view=view,
        limit=limit,
    )
    output = Output(as_json)
    with (
        acting_on(home, Action.DATA_IMPORT, may_begin=True) as (site, catalog, actor),
        output.progress("Pulling studies") as advance,
    ):
        importer, pseudonyms = importer_of(site, catalog, actor), catalog.pseudonyms()
        report = pull(
            _archive(site, name),
            query,
            folder=pulled_folder(home),
            import_folder=importer.bring_in,
            decided=lambda uid: catalog.is_decided(pseudonyms.source(uid)),
            progress=advance,
        )
    added = sum(one.added for one in report.imports)
    refusals = [refusal for one in report.imports for refusal in one.refusals]
    output.result(
        {
            "studies": report.num_found,
            "new_studies": report.num_new,
            "fetched": report.instances.fetched,
            "failed": report.instances.failed,
            "added": added,
            "not_used": [refusal_json(refusal) for refusal in refusals],
        },
        f"{report.num_found} studies found, {report.num_new} with anything new: {report.instances.fetched} "
        f"images fetched, {added} added, {len(refusals)} not used, {report.instances.failed} failed.",
    )
    show_refusals(output, refusals, located=False)
    if report.instances.failed and not as_json:
        output.result(
            {},
            "Images that failed are asked for again by the next pull. If C-MOVE brings none, see that the "
            "archive knows [dicom_node] and that its `peers` list the archive.",
        )


@data_app.command("receive")
def receive_command(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Take in what archives and stations send here, until Ctrl-C or SIGTERM.

    Listens as `[dicom_node]` of `site.toml` says, and accepts its `peers` alone. What was sent is deleted
    when it is imported; only quarantined files are kept, in `incoming/quarantined` of the home folder, the
    newest of them. With --json, one line for each import.
    """
    from client.incoming import received_folder
    from client.receiving import keep_quarantined, receive

    output = Output(as_json)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with acting_on(home, Action.DATA_IMPORT, may_begin=True) as (site, catalog, actor):
        settings = site.settings().dicom_node
        if settings is None:
            raise ConfigError(
                "This site has no application entity.", "Write the table [dicom_node] into site.toml."
            )
        importer = importer_of(site, catalog, actor)
        output.result({"listening": settings.port}, f"'{settings.ae_title}' listens on port {settings.port}.")
        receive(
            settings,
            folder=received_folder(home),
            import_folder=importer.bring_in,
            keep=lambda batch, report: keep_quarantined(home, batch, report),
            on_import=lambda report: _show_batch(output, report),
            should_stop=stopping.is_set,
        )


def _show_batch(output: Output, report: ImportReport) -> None:
    if output.as_json:
        output.json(import_json(report))
        return
    show_import(output, report, located=False)
    if report.quarantined:
        output.result(
            {},
            "  Quarantined files are in `incoming/quarantined` of the home folder: have them sent again when "
            "they are mended, or name that folder to `data add`.",
        )


def _archive(site: SiteHome, name: str) -> Archive:
    from client.pacs.opening import open_archive

    return open_archive(site.settings(), name)
