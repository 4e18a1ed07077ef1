"""TLS for DICOM: mutual, TLS 1.3 where both can, never below 1.2 (PS3.15 B.12, BCP 195)."""

from __future__ import annotations

import ssl

from client.dicom_node.settings import TlsFiles
from shared.errors import ConfigError

CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, the forward-secret authenticated ones that BCP 195 recommends; 1.3 has no others."""


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For listening: a peer without a certificate of the named authorities gets no connection.

    Raises
    ------
    ConfigError
        A file is missing, unreadable or does not fit the others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For calling: the archive's certificate must be of the named authorities and for its host.

    Raises
    ------
    ConfigError
        A file is missing, unreadable or does not fit the others.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_1_2)
    try:
        context.load_verify_locations(cafile=files.ca_file)
        # An empty pass phrase, lest an encrypted key makes OpenSSL ask at the terminal.
        context.load_cert_chain(files.certificate_file, files.key_file, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            "The TLS files of the DICOM connection cannot be used.",
            "Check that certificate_file, key_file and ca_file are PEM, belong together and are readable.",
        ) from error
    return context
