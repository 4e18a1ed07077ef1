"""The report as one page."""

from __future__ import annotations

from client.imaging.overlay import BREAST, DENSE, PECTORAL
from client.readiness import PART_NAMES
from client.reporting.contact_sheet import Thumbnail
from client.reporting.histogram import Histogram
from client.reporting.report import UNKNOWN, DataReport, day_of
from shared.pages import render

TEMPLATE = "report.html.j2"
STYLE = "report.css"
LEGEND = (("breast", BREAST), ("dense tissue", DENSE), ("pectoral muscle", PECTORAL))


def render_page(
    report: DataReport, histograms: tuple[Histogram, ...], thumbnails: tuple[Thumbnail, ...]
) -> str:
    """The page as HTML; the same arguments give the same text."""
    return render(
        __package__,
        TEMPLATE,
        STYLE,
        report=report,
        histograms=histograms,
        thumbnails=thumbnails,
        part_names=PART_NAMES,
        unknown=UNKNOWN,
        day_of=day_of,
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*colour)) for name, colour in LEGEND],
    )
