"""`mammofed-site serve-dicom`: measure what is sent here, and send the results to the archive."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import signal
import threading
from functools import partial
from typing import TYPE_CHECKING

from client.acting import open_for
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from client.clinic.serving import MeasuredExam
    from client.pacs.archive import Archive
    from client.pacs.dimse import Listening
    from client.settings import SiteSettings


def serve_dicom(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Measure the mammograms that are sent here and send the results to the archive, until told to stop.

    Listens as `[dicom_node]` of `site.toml` says, and looks for new mammograms in the archive that `find_in`
    of `[clinic]` names, if it does. Sends segments, overlays and reports to the one archive that `[clinic]`
    names, and only what a released model has measured. What was acknowledged is not lost, whatever ends this
    process or the archive. Research use; not for diagnosis. With --json, one line for each exam.
    """
    from client.clinic.serving import serve

    output, opened = Output(as_json), SiteHome(home)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = opened.settings()
    clinic, node = settings.clinic, settings.dicom_node
    if clinic is None or node is None:
        raise ConfigError(
            "This site has no DICOM node for the clinic.",
            "Write the tables [clinic] and [dicom_node] into site.toml.",
        )
    if clinic.send_to not in settings.pacs:
        raise ConfigError(
            "The archive that [clinic] sends to is not in site.toml.",
            f"Write the table [pacs.{clinic.send_to}].",
        )
    find_in = clinic.find_in
    if find_in is not None and find_in not in {*settings.pacs, *settings.dicomweb}:
        raise ConfigError(
            "The archive that [clinic] finds images in is not in site.toml.",
            f"Write the table [pacs.{find_in}] or [dicomweb.{find_in}].",
        )
    open_for(home, Action.CLINIC_SERVE)
    output.log_to(opened.logs / "clinic.log")
    serve(
        opened,
        clinic,
        node,
        settings.pacs[clinic.send_to],
        find_in=None if find_in is None else partial(_opened, settings, find_in),
        on_ready=lambda: output.result(
            {"listening": node.port}, f"'{node.ae_title}' measures what is sent to port {node.port}."
        ),
        on_exam=lambda exam: _show(output, exam),
        should_stop=stopping.is_set,
    )


def _opened(settings: SiteSettings, name: str, listening: Listening) -> Archive:
    from client.pacs.opening import open_archive
    from client.pacs.retries import Retries

    # One attempt: the next look is the next attempt, and a node that is told to stop does not wait for it.
    return open_archive(settings, name, listening=listening, retries=Retries(attempts=1))


def _show(output: Output, exam: MeasuredExam) -> None:
    output.result(
        {
            "images": exam.num_images,
            "measured": exam.num_measured,
            "objects": exam.num_objects,
        },
        f"An exam: {exam.num_measured} of {exam.num_images} images measured, {exam.num_objects} objects.",
    )
