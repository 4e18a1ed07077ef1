"""Making a coordinator's home: its settings, keys, certificates, secrets and store."""

from __future__ import annotations

import secrets

from server.home import CoordinatorHome, CoordinatorSettings
from server.issuing import hosts_of
from server.store import AuditLog, open_coordinator_store
from shared.audit.events import CoordinatorFounded
from shared.errors import HomeError
from shared.files import make_private_folder, write_file
from shared.trust.certificates import fingerprint
from shared.trust.issuing import Issuer, new_root, new_server_certificate
from shared.trust.keys import SigningKey, TlsKey


def found(home: CoordinatorHome, settings: CoordinatorSettings, *, now: float, actor: str) -> str:
    """Make a home; returns the fingerprint of the federation's root certificate.

    The settings file is written last: a home without it is not yet one.

    Raises
    ------
    HomeError
        The folder is a home already, or the database that the settings lead to is a federation's.
    StoreError
        The disk or the database refused.
    ConfigError
        The database is none that can be used.
    """
    if home.settings_file.exists():
        raise HomeError("This folder is a coordinator's home already.", "Give another one with --home.")
    make_private_folder(home.folder)
    log = AuditLog(open_coordinator_store(home.folder, home.database(settings)))
    if settings.database_file is not None and next(log.lines(), None) is not None:
        raise HomeError("The database holds a federation already.", "Give an empty one.")
    root_key, tls_key = TlsKey.generate(), TlsKey.generate()
    root_pem = new_root(federation_name=settings.name, key=root_key, now=now)
    chain_pem = new_server_certificate(
        hosts=hosts_of(settings),
        key=tls_key,
        issuer=Issuer(certificate_pem=root_pem, key=root_key),
        root_pem=root_pem,
        now=now,
    )
    root_key.save(home.root_key_file)
    tls_key.save(home.tls_key_file)
    write_file(home.root_certificate_file, root_pem)
    write_file(home.tls_chain_file, chain_pem)
    SigningKey.generate().save(home.signing_key_file)
    write_file(home.control_token_file, secrets.token_urlsafe(32).encode())
    write_file(home.runtime_secret_file, secrets.token_bytes(32))
    log.append(CoordinatorFounded(subject="coordinator"), actor=actor, at=now)
    home.write_settings(settings)
    return fingerprint(root_pem)
