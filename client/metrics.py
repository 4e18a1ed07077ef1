"""What a site shows to Prometheus, on loopback alone: how it is, and nothing of images and patients."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from client.home import LOOPBACK, SiteHome
from client.status import Glance, State, Status
from shared.errors import ConfigError
from shared.metrics import Metric, figure, metrics_page

log = logging.getLogger(__name__)

PREFIX = "mammofed_site"
MIB = 1 << 20


@contextlib.contextmanager
def showing_metrics(home: SiteHome) -> Iterator[None]:
    """Show them if the settings say so; a page that cannot be is told, and the site goes on without it."""
    settings = home.settings().metrics
    with contextlib.ExitStack() as open_page:
        if settings is not None:
            glance = Glance(home)
            page = metrics_page(lambda: metrics_of(glance.look()), listen=LOOPBACK, port=settings.port)
            try:
                open_page.enter_context(page)
            except ConfigError as error:
                log.error("metrics: %s %s", error.message, error.hint)
        yield


def metrics_of(status: Status) -> Iterator[Metric]:
    """All figures of this moment."""
    yield figure(f"{PREFIX}_info", "Version.", 1, version=status.software_version)
    yield Metric(
        name=f"{PREFIX}_state",
        help="What the site is doing: 1 at the state that it is in.",
        values=[({"state": state.value}, float(state is status.state)) for state in State],
    )
    yield figure(
        f"{PREFIX}_last_contact_timestamp_seconds",
        "When the coordinator last answered.",
        status.last_contact_at,
    )
    yield figure(f"{PREFIX}_troubles", "What it has in its way; `status` tells what.", len(status.troubles))
    yield figure(
        f"{PREFIX}_certificate_end_timestamp_seconds",
        "When its certificate ends; it renews itself.",
        status.certificate_ends_at,
    )
    yield Metric(
        name=f"{PREFIX}_plans",
        help="Plans by where the site stands with them.",
        values=[({"state": "waiting"}, status.waiting_plans), ({"state": "approved"}, status.approved_plans)],
    )
    yield figure(f"{PREFIX}_disk_free_bytes", "Free on the disk of the home folder.", status.disk_free_bytes)
    for name, what, value in (
        ("messages", "Messages that have left, as the ledger has them.", status.ledger.messages),
        ("bytes", "Bytes that have left, as the ledger has them.", status.ledger.size_bytes),
    ):
        yield Metric(name=f"{PREFIX}_sent_{name}_total", help=what, values=[({}, value)], kind="counter")
    if status.clinic is not None:
        yield figure(
            f"{PREFIX}_dicom_node_running", "Whether the clinic's node runs.", float(status.clinic.is_running)
        )
        yield figure(
            f"{PREFIX}_dicom_node_waiting_since_timestamp_seconds",
            "Since when something has waited there, for its measurement or for the archive.",
            status.clinic.waiting_since,
        )
    yield Metric(
        name=f"{PREFIX}_gpu_memory_used_bytes",
        help="Used memory of a GPU.",
        values=[
            ({"gpu": str(place)}, gpu.used_mib * MIB)
            for place, gpu in enumerate(status.gpus)
            if gpu.used_mib is not None
        ],
    )
    yield Metric(
        name=f"{PREFIX}_gpu_busy_ratio",
        help="Share of the last moment in which a GPU was busy.",
        values=[
            ({"gpu": str(place)}, gpu.busy_percent / 100)
            for place, gpu in enumerate(status.gpus)
            if gpu.busy_percent is not None
        ],
    )
