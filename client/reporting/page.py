"""The report as one page: nothing is fetched, nothing runs, and a browser is told to refuse both.

Its own style is admitted by digest, pictures by being part of the page; everything else is forbidden by the
page's Content Security Policy. Text is escaped by the template's engine.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from client.imaging.overlay import BREAST, DENSE, PECTORAL
from client.readiness import PART_NAMES
from client.reporting.contact_sheet import Thumbnail
from client.reporting.histogram import Histogram
from client.reporting.report import UNKNOWN, DataReport, day_of
from shared.errors import StoreError
from shared.files import write_file

TEMPLATE = "report.html.j2"
STYLE = "report.css"
LEGEND = (("breast", BREAST), ("dense tissue", DENSE), ("pectoral muscle", PECTORAL))


def render_page(
    report: DataReport, histograms: tuple[Histogram, ...], thumbnails: tuple[Thumbnail, ...]
) -> str:
    """The page as HTML; the same arguments give the same text."""
    environment = Environment(loader=FunctionLoader(_shipped), autoescape=True, undefined=StrictUndefined)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["day"] = day_of
    style = environment.get_template(STYLE).render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return environment.get_template(TEMPLATE).render(
        report=report,
        histograms=histograms,
        thumbnails=thumbnails,
        part_names=PART_NAMES,
        unknown=UNKNOWN,
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in LEGEND],
        style_digest=f"sha256-{digest}",
    )


def write_page(page: str, file: Path) -> None:
    """Write a page that only its owner may read.

    Raises
    ------
    StoreError
        The file exists already, or the disk refuses.
    """
    if file.exists():
        raise StoreError("The report's file exists already.", "Name another one.")
    write_file(file, page.encode())


def _shipped(name: str) -> str:
    """A text that lies beside this module."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
