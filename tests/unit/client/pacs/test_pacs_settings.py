"""Settings of the archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.pacs.dicomweb import DicomWebArchive
from client.pacs.dimse import DimseArchive
from client.pacs.settings import DicomWebSettings, PacsSettings
from shared.errors import ConfigError
from shared.tables import read_table


def read_web(text: str) -> DicomWebSettings:
    return read_table(DicomWebSettings, text, what="site.toml", error=ConfigError)


@pytest.mark.parametrize(
    "text",
    [
        'url = "ftp://pacs.example"',
        'url = "pacs.example/dicom-web"',
        'url = "https://user:secret@pacs.example/dicom-web"',
        'url = "https://pacs.example/dicom-web?user=x"',
        'url = "https://pacs.example"\nuser = "u"',
        'url = "https://pacs.example"\npassword_file = "p"',
        'url = "https://pacs.example"\nuser = "u"\npassword_file = "p"\ntoken_file = "t"',
    ],
)
def test_an_address_or_a_secret_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_web(text)
    assert "secret" not in str(caught.value)


def test_a_password_never_goes_over_plain_http_to_another_computer() -> None:
    secret = 'user = "u"\npassword_file = "p"'
    with pytest.raises(ConfigError, match="https only"):
        read_web(f'url = "http://pacs.example/dicom-web"\n{secret}')
    assert read_web(f'url = "http://127.0.0.1:8042/dicom-web/"\n{secret}').url.endswith("/dicom-web")


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff"])
def test_a_file_that_holds_no_secret_is_named_as_such(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="password or token") as caught:
        DicomWebArchive(DicomWebSettings(url="https://pacs.example", token_file=file))
    assert str(file) not in caught.value.message + caught.value.hint


def test_an_authority_that_is_no_certificate_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match="authority"):
        DicomWebArchive(DicomWebSettings(url="https://pacs.example", ca_file=tmp_path / "ca.pem"))


def test_moving_needs_a_node_of_our_own() -> None:
    with pytest.raises(ConfigError, match="C-MOVE"):
        DimseArchive(PacsSettings(ae_title="PACS", host="127.0.0.1", retrieve="move"))
