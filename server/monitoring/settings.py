"""`[alerts]`, `[metrics]` and `[traces]` of `coordinator.toml`: what is watched, and who is told of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from shared.proxy import is_loopback, is_safe_address
from shared.tables import Table

MAIL, WEBHOOK = "mail", "webhook"

Watched = Literal["loss", "dice_dense", "percent_density_r", "percent_density_error"]
"""The measures that are shown of every round."""

FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
MailAddress = Annotated[
    str,
    Field(
        max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
    ),
]


class Rule(StrEnum):
    """What an alert is about; also its name in settings, messages and metrics."""

    SITE_OFFLINE = "site-offline"
    ROUND_FAILED = "round-failed"
    QUORUM_AT_RISK = "quorum-at-risk"
    METRIC_DROPPED = "metric-dropped"
    UPDATE_REJECTED = "update-rejected"
    CERTIFICATE_EXPIRING = "certificate-expiring"
    DISK_LOW = "disk-low"


class MailSettings(Table):
    """`[alerts.mail]`: a mail server that takes messages.

    Attributes
    ----------
    security
        `starttls` or `tls`; `none` only for a mail server on this machine.
    user, password_file
        Credentials, if it asks for any; the password is the one line of a file of mode 0600.
    ca_file
        Certificates to trust, PEM, in the place of the system's.
    """

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: MailAddress
    recipients: Annotated[tuple[MailAddress, ...], Field(strict=False, min_length=1, max_length=50)]
    user: Annotated[str, Field(min_length=1, max_length=254)] | None = None
    password_file: FilePath | None = None
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.user is None) is not (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError("mail to another machine needs security starttls or tls")
        return self


class WebhookSettings(Table):
    """`[alerts.webhook]`: an address that takes signed JSON.

    Attributes
    ----------
    url
        `https://`; `http://` only to this machine.
    secret_file
        File of mode 0600 whose one line is the key of the signature, at least 24 characters.
    ca_file
        Certificates to trust, PEM, in the place of the system's.
    """

    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://[!-~]+$")]
    secret_file: FilePath
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        try:
            parts = urlsplit(self.url)
            host = parts.hostname or ""
            parts.port  # noqa: B018 - raises where it is none
        except ValueError as error:
            raise ValueError("the url is none") from error
        if not host or parts.username is not None or parts.password is not None:
            raise ValueError("the url names a host, and no user")
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError("a webhook on another machine needs https")
        return self


class MetricsSettings(Table):
    """`[metrics]`: a page of figures for Prometheus; without a port there is none.

    Attributes
    ----------
    listen
        Address that it binds.
    client_ca_file
        Authority of the certificates that scrapers show, PEM; needed where it listens beyond loopback.
    """

    port: Annotated[int, Field(ge=1, le=65535)]
    listen: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    client_ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.client_ca_file is None and not is_loopback(self.listen):
            raise ValueError("metrics beyond loopback need client_ca_file")
        return self


class TracesSettings(Table):
    """`[traces]`: a collector of OpenTelemetry that traces of runs are sent to; without it there are none.

    Attributes
    ----------
    endpoint
        Where it takes traces by OTLP over HTTP, such as https://collector.example/v1/traces.
    token_file
        File of mode 0600 whose one line it asks for, as a bearer's token.
    ca_file
        Certificates to trust, PEM, in the place of the system's.
    """

    endpoint: Annotated[str, Field(max_length=500)]
    token_file: FilePath | None = None
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not is_safe_address(self.endpoint):
            raise ValueError("traces go to an address that begins with https://, or to this machine")
        return self


class AlertSettings(Table):
    """`[alerts]`.

    Attributes
    ----------
    off
        Rules that raise nothing.
    site_offline_minutes
        So long may a site be out of touch.
    quorum_offline_minutes
        So long may a site of a run be out of touch before it is not reckoned with.
    metric, metric_drop
        Measure of the global model over all sites, and by how much it may be worse than its best of late.
    certificate_days
        A certificate is told of that ends sooner and is in the last sixth of its life.
    disk_free_gib
        So much must be free on the disk of the home folder, GiB.
    """

    off: Annotated[tuple[Annotated[Rule, Field(strict=False)], ...], Field(strict=False)] = ()
    site_offline_minutes: Annotated[float, Field(gt=0, le=100_000, strict=False)] = 15.0
    quorum_offline_minutes: Annotated[float, Field(gt=0, le=100_000, strict=False)] = 2.0
    metric: Watched = "dice_dense"
    metric_drop: Annotated[float, Field(gt=0, strict=False)] = 0.05
    certificate_days: Annotated[float, Field(gt=0, le=365, strict=False)] = 30.0
    disk_free_gib: Annotated[float, Field(gt=0, le=100_000, strict=False)] = 1.0
    mail: MailSettings | None = None
    webhook: WebhookSettings | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are configured."""
        return tuple(name for name in (MAIL, WEBHOOK) if getattr(self, name) is not None)
