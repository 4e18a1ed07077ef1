"""What a site's administrator may set in `site.toml`; everything has a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from client.clinic.settings import ClinicSettings
from client.dicom_node.settings import DicomNodeSettings
from client.followup.settings import FollowUpSettings
from client.pacs.settings import DicomWebSettings, PacsSettings
from client.proxy import ProxySettings
from shared.protection.organisation import OrganisationSettings
from shared.tables import Table

DeviceChoice = Literal["auto", "cpu", "cuda"]


class IntakeSettings(Table):
    """How mammograms come in and lie here.

    Attributes
    ----------
    accept_secondary_capture, accept_lossy, min_rows_px
        See `client.intake.exclusions.IntakeRules`.
    workers
        Processes that decode and prepare; 0 for one per core.
    encrypted
        Seal every example with a key of this home; off only where the home lies on an encrypted volume.
    """

    accept_secondary_capture: bool = False
    accept_lossy: bool = False
    min_rows_px: Annotated[int, Field(ge=1, le=100_000)] = 1000
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    encrypted: bool = True


class MetricsSettings(Table):
    """`[metrics]`: a page of figures for Prometheus on loopback; without a port there is none."""

    port: Annotated[int, Field(ge=1, le=65535)]


class SiteSettings(Table):
    """The whole of `site.toml`.

    Attributes
    ----------
    device
        Where to train.
    gpus
        How many GPUs share a training step.
    threads
        CPU threads of the training process; 0 leaves it to torch.
    dicom_node
        Our own application entity: without it, nothing can be sent here and C-MOVE is not possible.
    pacs, dicomweb
        Archives by the name that commands use.
    clinic
        What `serve-dicom` does; without it, it does not run.
    follow_up
        What may be suggested after a measurement; without it, nothing.
    proxy
        The way out to the coordinator; without it, straight.
    metrics
        The page for Prometheus; left out, there is none.
    organisation
        Who answers for the data; for the data-protection pack alone.
    """

    device: DeviceChoice = "auto"
    gpus: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    intake: IntakeSettings = IntakeSettings()
    dicom_node: DicomNodeSettings | None = None
    pacs: Mapping[str, PacsSettings] = {}
    dicomweb: Mapping[str, DicomWebSettings] = {}
    clinic: ClinicSettings | None = None
    follow_up: FollowUpSettings | None = None
    proxy: ProxySettings | None = None
    metrics: MetricsSettings | None = None
    organisation: OrganisationSettings = OrganisationSettings()
