"""Settings of our application entity: nobody is let in who is not written down."""

from __future__ import annotations

import pytest

from client.dicom_node.settings import DicomNodeSettings
from shared.errors import ConfigError
from shared.tables import read_table


def read(text: str) -> DicomNodeSettings:
    return read_table(DicomNodeSettings, text, what="site.toml", error=ConfigError)


def test_nobody_is_listed_so_nobody_may_call() -> None:
    settings = read('ae_title = "MAMMOFED"')
    assert settings.address == "127.0.0.1"
    assert not settings.allows_address("127.0.0.1")
    assert not settings.allows("PACS", "127.0.0.1")


@pytest.mark.parametrize(
    ("title", "address", "allowed"),
    [
        ("PACS", "10.0.0.5", True),
        ("PACS            ", "10.0.0.5", True),  # padded, as on the wire
        ("PACS", "::ffff:10.0.0.5", True),  # IPv4 through an IPv6 socket
        ("PACS", "10.0.0.6", False),
        ("pacs", "10.0.0.5", False),
        ("MODALITY", "10.0.0.5", False),  # the address of another one
        ("MODALITY", "192.0.2.14", True),
        ("MODALITY", "192.0.2.16", False),
        ("STRANGER", "10.0.0.5", False),
    ],
)
def test_a_title_may_call_from_its_own_addresses_only(title: str, address: str, allowed: bool) -> None:
    settings = read(
        """
        ae_title = "MAMMOFED"
        [peers]
        PACS = ["10.0.0.5"]
        MODALITY = ["192.0.2.0/28"]
        """
    )
    assert settings.allows(title, address) is allowed


@pytest.mark.parametrize(
    "title", ["", "SEVENTEEN-LETTERS", "BACK\\\\SLASH", " LEADING", "UMLÄUT", "LINE\\nBREAK"]
)
def test_a_title_that_dicom_does_not_know_is_refused(title: str) -> None:
    with pytest.raises(ConfigError, match="AE title"):
        read(f'ae_title = "{title}"')


@pytest.mark.parametrize(
    "line",
    [
        'address = "pacs.example"',
        'peers = { PACS = ["10.0.0.300"] }',
        'peers = { PACS = ["10.0.0.5/8"] }',
        "port = 0",
        "max_pdu_bytes = 2000000",
        'tls = { certificate_file = "a.pem", key_file = "a.key" }',
        'password = "x"',
    ],
)
def test_a_setting_out_of_range_is_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        read(f'ae_title = "MAMMOFED"\n{line}')
