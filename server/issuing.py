"""Who signs certificates at this coordinator, and the certificate of its own listeners."""

from __future__ import annotations

from pathlib import Path

from server.home import CoordinatorHome, CoordinatorSettings, KeyFolder
from shared.errors import ConfigError, TrustError
from shared.files import write_file
from shared.trust.certificates import CLOCK_SKEW, expires_at, is_for_key, issued_at
from shared.trust.issuing import Issuer, new_server_certificate
from shared.trust.keys import TlsKey
from shared.trust.server_certificate import names_host

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - never a host of a certificate
RENEW_SERVER_AFTER = 2 / 3
"""Share of the server certificate's life after which the next start makes a new one."""


def issuer_of(keys: KeyFolder) -> Issuer:
    """The root, or the issuer in its place while the root's key is offline. Raises TrustError."""
    if not keys.issuer_key.exists():
        return root_of(keys)
    issuer = Issuer(certificate_pem=read_key_file(keys.issuer_certificate), key=TlsKey.load(keys.issuer_key))
    if not is_for_key(issuer.certificate_pem, issuer.key.private.public_key()):
        raise TrustError(
            "The issuer's key and certificate do not belong together.",
            "Run `mammofed-coordinator keys renew-issuer` with the root's key.",
        )
    return issuer


def root_of(keys: KeyFolder, brought: TlsKey | None = None) -> Issuer:
    """The root with its key: from its place, or as it was brought back.

    Raises
    ------
    ConfigError
        The key is offline, and was not brought.
    TrustError
        A file cannot be read, or it is another key.
    """
    key = TlsKey.load(keys.root_key) if keys.root_key.exists() else brought
    if key is None:
        raise ConfigError("The root's key is offline.", "Bring its file back, and name it with --root-key.")
    certificate_pem = read_key_file(keys.root_certificate)
    if not is_for_key(certificate_pem, key.private.public_key()):
        raise TrustError(
            "This is another key than the root's.", "Name the file of the root that is in force."
        )
    return Issuer(certificate_pem=certificate_pem, key=key)


def renew_server_certificate(home: CoordinatorHome, *, now: float) -> bool:
    """Issue the listeners a new certificate if theirs is past two thirds of its life or lacks a host of ours.

    One that was issued in the time to come, by a clock that was wrong, is replaced as well.

    Returns
    -------
    Whether there is a new one.
    """
    settings, chain_pem = home.settings(), home.tls_chain_file.read_bytes()
    start, end = issued_at(chain_pem), expires_at(chain_pem)
    is_due = not start - CLOCK_SKEW.total_seconds() <= now < start + RENEW_SERVER_AFTER * (end - start)
    if not is_due and all(names_host(chain_pem, host) for host in hosts_of(settings)):
        return False
    issue_server_certificate(settings, home.keys, TlsKey.load(home.tls_key_file), now=now)
    return True


def issue_server_certificate(
    settings: CoordinatorSettings, keys: KeyFolder, key: TlsKey, *, now: float
) -> None:
    """Write the listeners' key and certificate among these keys. Raises TrustError, StoreError."""
    cross = keys.cross_certificate
    chain_pem = new_server_certificate(
        hosts=hosts_of(settings),
        key=key,
        issuer=issuer_of(keys),
        root_pem=read_key_file(keys.root_certificate),
        now=now,
        cross_pem=cross.read_bytes() if cross.exists() else b"",
    )
    key.save(keys.tls_key)
    write_file(keys.tls_chain, chain_pem)


def hosts_of(settings: CoordinatorSettings) -> list[str]:
    """The hosts that the listeners' certificate names."""
    names = settings.front.names if settings.front else ()
    return sorted(
        {settings.host, settings.listen, settings.console_listen, *names, *LOOPBACK_HOSTS} - EVERY_ADDRESS
    )


def read_key_file(file: Path) -> bytes:
    """A certificate of the coordinator, or a statement of its keys. Raises TrustError."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise TrustError(
            "A certificate of the coordinator, or a statement of its keys, cannot be read.",
            "Restore the folder `keys` of its home from the backup.",
        ) from error
