"""Settings of the archives."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from client.dicom_node.settings import AeTitle, FilePath, Port, TimeoutS, TlsFiles
from shared.tables import Table


class PacsSettings(Table):
    """A table `[pacs.NAME]` of `site.toml`: an archive that speaks DICOM.

    Attributes
    ----------
    ae_title, host, port
        Of the archive.
    calling_ae_title
        What we call ourselves when we ask.
    retrieve
        `get` lets the archive answer on our own connection; `move` makes it call `[dicom_node]`.
    tls
        Without it, DICOM is in plain text.
    timeout_s
        An archive that is silent for so long counts as gone.
    """

    ae_title: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Port = 104
    calling_ae_title: AeTitle = "MAMMOFED"
    retrieve: Literal["get", "move"] = "get"
    tls: TlsFiles | None = None
    timeout_s: TimeoutS = 60


class DicomWebSettings(Table):
    """A table `[dicomweb.NAME]` of `site.toml`: an archive that speaks DICOMweb.

    Attributes
    ----------
    url
        Root of the service, such as `https://pacs.hospital.example/dicom-web`.
    user, password_file
        For basic authentication.
    token_file
        For bearer authentication.
    ca_file
        Authorities of the archive's certificate, PEM; without it, those that come with Python's requests.
    timeout_s
        An archive that is silent for so long counts as gone.
    """

    url: str
    user: str | None = None
    password_file: FilePath | None = None
    token_file: FilePath | None = None
    ca_file: FilePath | None = None
    timeout_s: TimeoutS = 60

    @field_validator("url")
    @classmethod
    def _plain_root(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("it begins with https:// or http:// and a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("it holds nothing but host, port and path; a password goes into password_file")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_way_to_prove_ourselves(self) -> DicomWebSettings:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and self.token_file is not None:
            raise ValueError("give a password_file or a token_file, not both")
        secret = self.user is not None or self.token_file is not None
        if secret and not self.url.startswith("https:") and not _is_loopback(self.url):
            raise ValueError("a password or token is sent over https only")
        return self


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
