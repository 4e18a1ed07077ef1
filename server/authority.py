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

from server.home import CoordinatorHome, KeyFolder
from server.issuing import issue_server_certificate, read_key_file, root_of
from server.store import AuditLog, Site
from shared.audit.events import KeysRotated
from shared.errors import ConfigError
from shared.files import hold_folder, make_private_folder, write_file
from shared.trust.anchors import Anchors
from shared.trust.certificates import expires_at, fingerprint
from shared.trust.chains import is_issued_by
from shared.trust.envelope import Envelope
from shared.trust.issuing import new_cross_certificate, new_root_after
from shared.trust.keys import SigningKey, TlsKey

KEY_ID_DIGITS = 16


def anchors_of(home: CoordinatorHome) -> Anchors:
    """What members believe this coordinator by. Raises TrustError if a file of it cannot be read."""
    *before, folder = home.key_folders()
    if before:
        # Whoever can write this file can read the private keys beside it: there is nothing to verify.
        return Anchors.from_bytes(Envelope.from_bytes(read_key_file(folder.statement)).unverified_payload)
    signing_key = SigningKey.load(folder.signing_key).verify_key
    return Anchors(roots_pem=(read_key_file(folder.root_certificate),), signing_key=signing_key)


def statements_of(home: CoordinatorHome) -> list[bytes]:
    """The statements of versions 2, 3, ..., by which a site follows from any version to the one of now.

    Raises TrustError if a file cannot be read.
    """
    return [read_key_file(folder.statement) for folder in home.key_folders()[1:]]


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
        note_change(
            log, "signing", old_key.verify_key.key_id, new_key.verify_key.key_id, now=now, actor=actor
        )
    return after


def rotate_root(
    home: CoordinatorHome, log: AuditLog, *, now: float, actor: str, root_key: TlsKey | None = None
) -> Anchors:
    """Issue certificates under a new root from now on; the old one is believed until `retire_root`.

    Sites that know only the old root reach the listeners by its certificate for the new one. The new root's
    key is here, until `take_root_offline` again.

    Parameters
    ----------
    root_key
        The old root's, if that is offline.

    Raises
    ------
    ConfigError
        The change before this one is not finished: an older root is still believed.
    HomeError, StoreError
        See `rotate_signing_key`.
    """
    with _change(home) as making:
        before, old_root, new_key = anchors_of(home), root_of(home.keys, root_key), TlsKey.generate()
        if len(before.roots_pem) > 1:
            raise ConfigError(
                "The root before is still believed.",
                "Finish that change first, with `mammofed-coordinator keys retire-root`.",
            )
        root_pem = new_root_after(before.root_pem, key=new_key, now=now)
        cross_pem = new_cross_certificate(root_pem=root_pem, old_root=old_root, now=now)
        after = before.with_root(root_pem)
        _copy(home.keys, making)
        for file in (making.issuer_key, making.issuer_certificate):
            file.unlink(missing_ok=True)
        new_key.save(making.root_key)
        write_file(making.root_certificate, root_pem)
        write_file(making.cross_certificate, cross_pem)
        issue_server_certificate(home.settings(), making, TlsKey.generate(), now=now)
        _put_in_force(home, making, after, SigningKey.load(home.signing_key_file))
        note_change(
            log, "root", certificate_id(before.root_pem), certificate_id(root_pem), now=now, actor=actor
        )
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
                "Let them run `mammofed-site serve` and try again, or revoke them.",
            )
        after = before.with_current_root_alone()
        _copy(home.keys, making)
        making.cross_certificate.unlink()
        issue_server_certificate(home.settings(), making, TlsKey.generate(), now=now)
        _put_in_force(home, making, after, SigningKey.load(home.signing_key_file))
        retired, current = certificate_id(before.roots_pem[-1]), certificate_id(before.root_pem)
        note_change(log, "root-retired", retired, current, now=now, actor=actor)
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


@contextmanager
def holding_alone(home: CoordinatorHome) -> Iterator[None]:
    """Nothing runs that knows the keys of now."""
    home.settings()
    with hold_folder(home.folder):
        yield


@contextmanager
def _change(home: CoordinatorHome) -> Iterator[KeyFolder]:
    """An empty folder for the keys to come, while nothing runs that knows those of now."""
    with holding_alone(home):
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
        for file in (before.root_key, before.issuer_key, before.signing_key, before.tls_key):
            file.unlink(missing_ok=True)


def note_change(
    log: AuditLog, purpose: str, old_key_id: str, new_key_id: str, *, now: float, actor: str
) -> None:
    """Write down that one key of the coordinator has taken another's place."""
    event = KeysRotated(subject="coordinator", purpose=purpose, old_key_id=old_key_id, new_key_id=new_key_id)
    log.append(event, actor=actor, at=now)


def certificate_id(certificate_pem: bytes) -> str:
    """How the audit log names a root or an issuer."""
    return fingerprint(certificate_pem)[:KEY_ID_DIGITS]
