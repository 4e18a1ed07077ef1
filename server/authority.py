"""The coordinator's own keys: its root and its signing key, and how each is replaced.

The keys in force lie together in one folder (`CoordinatorHome.keys`). A change makes the next folder aside,
with the statement by which sites follow it, and puts it in force by one rename; then the private keys of the
folder before are erased. Running processes know only the keys that they began with, so that a change needs
the coordinator to be stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.home import CoordinatorHome, CoordinatorSettings, KeyFolder
from server.store import AuditLog, Site
from shared.audit.events import KeysRotated
from shared.errors import ConfigError, TrustError
from shared.files import hold_folder, make_private_folder, write_file
from shared.trust.anchors import Anchors
from shared.trust.certificates import (
    CLOCK_SKEW,
    expires_at,
    fingerprint,
    is_issued_by,
    issued_at,
    new_cross_certificate,
    new_root_after,
    new_server_certificate,
)
from shared.trust.envelope import Envelope
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.server_certificate import names_host

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - never a host of a certificate
KEY_ID_DIGITS = 16
RENEW_SERVER_AFTER = 2 / 3
"""Share of the server certificate's life after which the next start makes a new one."""


def anchors_of(home: CoordinatorHome) -> Anchors:
    """What members believe this coordinator by. Raises TrustError if a file of it cannot be read."""
    *before, folder = home.key_folders()
    if before:
        # Whoever can write this file can read the private keys beside it: there is nothing to verify.
        return Anchors.from_bytes(Envelope.from_bytes(_read(folder.statement)).unverified_payload)
    signing_key = SigningKey.load(folder.signing_key).verify_key
    return Anchors(roots_pem=(_read(folder.root_certificate),), signing_key=signing_key)


def statements_of(home: CoordinatorHome) -> list[bytes]:
    """The statements of versions 2, 3, ..., by which a site follows from any version to the one of now.

    Raises TrustError if a file cannot be read.
    """
    return [_read(folder.statement) for folder in home.key_folders()[1:]]


def rotate_signing_key(home: CoordinatorHome, log: AuditLog, *, now: float, actor: str) -> Anchors:
    """Sign with a new key from now on; the old one vouches for it, and for the models that it signed.

    Raises
    ------
    HomeError
        The coordinator is running, or the folder is not its home.
    StoreError
        The disk refused; the old key stays in force.
    """
    with _change(home) as making:
        before, old_key, new_key = (
            anchors_of(home),
            SigningKey.load(home.signing_key_file),
            SigningKey.generate(),
        )
        after = before.with_signing_key(new_key.verify_key, now=now)
        _copy(home.keys, making)
        new_key.save(making.signing_key)
        _put_in_force(home, making, after, old_key)
        _note(log, "signing", old_key.verify_key.key_id, new_key.verify_key.key_id, now=now, actor=actor)
    return after


def rotate_root(home: CoordinatorHome, log: AuditLog, *, now: float, actor: str) -> Anchors:
    """Issue certificates under a new root from now on; the old one is believed until `retire_root`.

    Sites that know only the old root reach the listeners by its certificate for the new one.

    Raises
    ------
    ConfigError
        The change before this one is not finished: an older root is still believed.
    HomeError, StoreError
        See `rotate_signing_key`.
    """
    with _change(home) as making:
        before, old_key, new_key = anchors_of(home), TlsKey.load(home.root_key_file), TlsKey.generate()
        if len(before.roots_pem) > 1:
            raise ConfigError(
                "The root before is still believed.",
                "Finish that change first, with `mammofed-coordinator keys retire-root`.",
            )
        root_pem = new_root_after(before.root_pem, key=new_key, now=now)
        cross_pem = new_cross_certificate(
            root_pem=root_pem, old_root_pem=before.root_pem, old_root_key=old_key, now=now
        )
        after = before.with_root(root_pem)
        _copy(home.keys, making)
        new_key.save(making.root_key)
        write_file(making.root_certificate, root_pem)
        write_file(making.cross_certificate, cross_pem)
        _issue_server_certificate(home.settings(), making, TlsKey.generate(), now=now)
        _put_in_force(home, making, after, SigningKey.load(home.signing_key_file))
        _note(log, "root", _root_id(before.root_pem), _root_id(root_pem), now=now, actor=actor)
    return after


def retire_root(
    home: CoordinatorHome, log: AuditLog, sites: Iterable[Site], *, now: float, actor: str
) -> Anchors:
    """Believe the root of now alone, once no site depends on the one before.

    Parameters
    ----------
    sites
        The active ones.

    Raises
    ------
    ConfigError
        There is no older root, or sites depend on it.
    HomeError, StoreError
        See `rotate_signing_key`.
    """
    with _change(home) as making:
        before = anchors_of(home)
        if len(before.roots_pem) == 1:
            raise ConfigError(
                "No root but the current one is believed.",
                "`mammofed-coordinator keys rotate-root` makes a new one.",
            )
        if waiting := depending_on_older_root(before, sites, now=now):
            raise ConfigError(
                f"The older root is still needed by: {', '.join(site.name for site in waiting)}.",
                "Let them run `mammofed-site start` and try again, or revoke them.",
            )
        after = before.with_current_root_alone()
        _copy(home.keys, making)
        making.cross_certificate.unlink()
        _issue_server_certificate(home.settings(), making, TlsKey.generate(), now=now)
        _put_in_force(home, making, after, SigningKey.load(home.signing_key_file))
        retired, current = _root_id(before.roots_pem[-1]), _root_id(before.root_pem)
        _note(log, "root-retired", retired, current, now=now, actor=actor)
    return after


def depending_on_older_root(anchors: Anchors, sites: Iterable[Site], *, now: float) -> list[Site]:
    """The sites that would be locked out if only the current root were believed.

    Not those whose certificate has expired: they are locked out already.
    """
    return [
        site
        for site in sites
        if expires_at(site.certificate_pem) > now
        and not (site.certificate_seen and is_issued_by(site.certificate_pem, anchors.root_pem))
    ]


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
    _issue_server_certificate(settings, home.keys, TlsKey.load(home.tls_key_file), now=now)
    return True


def _issue_server_certificate(
    settings: CoordinatorSettings, folder: KeyFolder, key: TlsKey, *, now: float
) -> None:
    cross = folder.cross_certificate
    chain_pem = new_server_certificate(
        hosts=hosts_of(settings),
        key=key,
        root_pem=folder.root_certificate.read_bytes(),
        root_key=TlsKey.load(folder.root_key),
        now=now,
        cross_pem=cross.read_bytes() if cross.exists() else b"",
    )
    key.save(folder.tls_key)
    write_file(folder.tls_chain, chain_pem)


def hosts_of(settings: CoordinatorSettings) -> list[str]:
    """The hosts that the listeners' certificate names."""
    names = settings.front.names if settings.front else ()
    return sorted(
        {settings.host, settings.listen, settings.console_listen, *names, *LOOPBACK_HOSTS} - EVERY_ADDRESS
    )


@contextmanager
def _change(home: CoordinatorHome) -> Iterator[KeyFolder]:
    """An empty folder for the keys to come, while nothing runs that knows those of now."""
    home.settings()
    with hold_folder(home.folder):
        making = home.keys_in_the_making()
        shutil.rmtree(making.folder, ignore_errors=True)
        make_private_folder(making.folder)
        yield making


def _copy(before: KeyFolder, making: KeyFolder) -> None:
    for name in KeyFolder.KEPT:
        if (file := before.folder / name).exists():
            write_file(making.folder / name, file.read_bytes())


def _put_in_force(
    home: CoordinatorHome, making: KeyFolder, after: Anchors, signing_key_before: SigningKey
) -> None:
    write_file(making.statement, after.signed(signing_key_before))
    home.put_in_force(making)
    for before in home.key_folders()[:-1]:
        for file in (before.root_key, before.signing_key, before.tls_key):
            file.unlink(missing_ok=True)


def _note(log: AuditLog, purpose: str, old_key_id: str, new_key_id: str, *, now: float, actor: str) -> None:
    event = KeysRotated(subject="coordinator", purpose=purpose, old_key_id=old_key_id, new_key_id=new_key_id)
    log.append(event, actor=actor, at=now)


def _root_id(root_pem: bytes) -> str:
    return fingerprint(root_pem)[:KEY_ID_DIGITS]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TrustError(
            "A certificate of the coordinator, or a statement of its keys, cannot be read.",
            "Restore the folder `keys` of its home from the backup.",
        ) from error
