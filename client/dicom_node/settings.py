"""Settings of our application entity."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.tables import Table

MAX_TITLE = 16


def _ae_title(text: str) -> str:
    plain = text.isascii() and text.isprintable() and "\\" not in text
    if not plain or not 1 <= len(text) <= MAX_TITLE or text != text.strip():
        raise ValueError("an AE title has 1 to 16 ASCII characters, no backslash, no space at its ends")
    return text


def _address(text: str) -> str:
    ipaddress.ip_address(text)
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


AeTitle = Annotated[str, AfterValidator(_ae_title)]
"""VR AE (PS3.5 6.2), without the padding that does not count."""
IpAddress = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
"""One address, or many as `192.0.2.0/28`."""
Port = Annotated[int, Field(ge=1, le=65535)]
FilePath = Annotated[Path, Field(strict=False)]
"""Strict validation would refuse the strings that TOML has for paths."""
TimeoutS = Annotated[int, Field(ge=1, le=3600)]


class TlsFiles(Table):
    """DICOM over TLS: both sides prove themselves (PS3.15 B.12, BCP 195).

    Attributes
    ----------
    certificate_file
        Our certificate, with the chain below it, PEM.
    key_file
        Its private key, PEM, without a pass phrase.
    ca_file
        Authorities whose certificates the other side may show, PEM.
    """

    certificate_file: FilePath
    key_file: FilePath
    ca_file: FilePath


class DicomNodeSettings(Table):
    """Table `[dicom_node]` of `site.toml`.

    Attributes
    ----------
    ae_title
        What others must call us.
    address
        Where to listen.
    peers
        Who may call: AE titles, and for each the addresses that it may call from. Nobody by default.
    tls
        Without it, DICOM is in plain text.
    max_associations
        More than these at a time are turned away.
    max_pdu_bytes
        Largest unit of data that is accepted.
    timeout_s
        A peer that is silent for so long is cut off.
    min_free_mb
        Nothing is received that would leave less of the disk.
    """

    ae_title: AeTitle
    address: IpAddress = "127.0.0.1"
    port: Port = 11112
    peers: Mapping[AeTitle, list[Network]] = {}
    tls: TlsFiles | None = None
    max_associations: Annotated[int, Field(ge=1, le=100)] = 8
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 1 << 15
    timeout_s: TimeoutS = 60
    min_free_mb: Annotated[int, Field(ge=0)] = 2000

    def allows_address(self, address: str) -> bool:
        """Whether anybody may call from there."""
        return any(_within(address, networks) for networks in self.peers.values())

    def allows(self, ae_title: str, address: str) -> bool:
        """Whether this caller may call from there."""
        return _within(address, self.peers.get(ae_title.strip(), []))


def _within(address: str, networks: list[str]) -> bool:
    caller: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller in ipaddress.ip_network(network) for network in networks)
