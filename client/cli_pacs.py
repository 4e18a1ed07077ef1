"""`mammofed-site pacs`, and the commands of `data` that speak with an archive."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_data import data_app, importer_of, opened, refusal_json, show_import
from client.cli_options import HOME, HomeOption, JsonOption, day
from client.home import SiteHome
from client.imaging.mammogram import View
from shared.errors import ConfigError
from shared.terminal import Output

if TYPE_CHECKING:
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
    from client.intake.pseudonyms import Pseudonyms
    from client.pacs.archive import Query
    from client.pulling import pull

    query = Query(
        from_date=day(since) if since else None,
        until_date=day(until) if until else None,
        view=view,
        limit=limit,
    )
    output = Output(as_json)
    with opened(home) as (site, catalog), output.progress("Pulling studies") as advance:
        importer, pseudonyms = importer_of(site, catalog), Pseudonyms.open(catalog.home)
        report = pull(
            _archive(site, name),
            query,
            folder=site.incoming / "pulled",
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
    if report.instances.failed and not as_json:
        output.result(
            {},
            "Images that failed are asked for again by the next pull. If C-MOVE brings none, see that the "
            "archive knows [dicom_node] and that its `peers` list the archive.",
        )


@data_app.command("receive")
def receive_command(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Take in what archives and stations send here, until Ctrl-C or SIGTERM.

    Listens as `[dicom_node]` of `site.toml` says, and accepts its `peers` alone.
    """
    from client.receiving import receive

    output = Output(as_json)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with opened(home) as (site, catalog):
        settings = site.settings().dicom_node
        if settings is None:
            raise ConfigError(
                "This site has no application entity.", "Write the table [dicom_node] into site.toml."
            )
        importer = importer_of(site, catalog)
        output.result({"listening": settings.port}, f"'{settings.ae_title}' listens on port {settings.port}.")
        receive(
            settings,
            folder=site.incoming / "received",
            import_folder=importer.bring_in,
            on_import=lambda report: show_import(output, report),
            should_stop=stopping.is_set,
        )


def _archive(site: SiteHome, name: str) -> Archive:
    from client.pacs.dicomweb import DicomWebArchive
    from client.pacs.dimse import DimseArchive

    settings = site.settings()
    if name in settings.pacs:
        return DimseArchive(settings.pacs[name], settings.dicom_node)
    if name in settings.dicomweb:
        return DicomWebArchive(settings.dicomweb[name])
    raise ConfigError(
        f"There is no archive '{name}'.", "Write a table [pacs.NAME] or [dicomweb.NAME] into site.toml."
    )
