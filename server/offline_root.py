"""The root's key kept where no network is, and an issuer that the root has certified in its place.

What sites believe does not change by this, so that no statement is made and nothing has to reach them.
"""

from __future__ import annotations

from pathlib import Path

from server.authority import anchors_of, certificate_id, holding_alone, note_change
from server.home import CoordinatorHome
from server.issuing import issue_server_certificate, read_key_file, root_of
from server.store import AuditLog
from shared.errors import ConfigError, TrustError
from shared.files import write_file
from shared.trust.certificates import is_for_key
from shared.trust.issuing import Issuer, allows_issuer, new_issuer
from shared.trust.keys import TlsKey
from shared.trust.passphrase import Passphrase, sealed, unsealed


def take_root_offline(
    home: CoordinatorHome, log: AuditLog, file: Path, passphrase: Passphrase, *, now: float, actor: str
) -> None:
    """Let an issuer sign from now on, and move the root's key into a file, sealed, to be kept elsewhere.

    The key leaves its place last, when the file was read again and the issuer is in force: whatever cuts this
    short, it is in one of the two.

    Raises
    ------
    ConfigError
        The key is offline already, the file exists, the passphrase is too short, or a root that is believed
        allows no issuer below it.
    TrustError
        What was written cannot be read again.
    HomeError, StoreError
        See `rotate_signing_key`.
    """
    with holding_alone(home):
        keys = home.keys
        if not keys.root_key.exists():
            raise ConfigError("The root's key is offline already.", "Keep the file that was written then.")
        passphrase.check_length()
        if file.exists():
            raise ConfigError("The file for the root's key exists already.", "Name another one.")
        root = root_of(keys)
        if not all(map(allows_issuer, anchors_of(home).roots_pem)):
            raise ConfigError(
                "The root was founded by a version that let none stand below it.",
                "Run `keys rotate-root`, and `keys retire-root` when no site depends on it; then this again.",
            )
        write_file(file, sealed(root.key.to_pem(), passphrase))
        if not is_for_key(root.certificate_pem, read_root_key(file, passphrase).private.public_key()):
            raise TrustError("The root's key was not written well.", "Name a file on another disk.")
        issuer_id = _make_issuer(home, root, now=now)
        keys.root_key.unlink()
        note_change(log, "issuer", certificate_id(root.certificate_pem), issuer_id, now=now, actor=actor)


def renew_issuer(home: CoordinatorHome, log: AuditLog, root_key: TlsKey, *, now: float, actor: str) -> None:
    """Make a new issuer by the root's key, which is brought back for as long as this takes.

    Raises
    ------
    ConfigError
        The root's key is not offline.
    TrustError
        It is another key.
    HomeError, StoreError
        See `rotate_signing_key`.
    """
    with holding_alone(home):
        keys = home.keys
        if keys.root_key.exists():
            raise ConfigError("The root's key is here: there is no issuer.", "Nothing is to be renewed.")
        before = certificate_id(read_key_file(keys.issuer_certificate))
        issuer_id = _make_issuer(home, root_of(keys, root_key), now=now)
        note_change(log, "issuer", before, issuer_id, now=now, actor=actor)


def read_root_key(file: Path, passphrase: Passphrase) -> TlsKey:
    """The key in a file that `take_root_offline` has written.

    Raises
    ------
    ConfigError
        The file cannot be read, or is of another kind.
    TrustError, TamperedError
        The passphrase is another, or the file was changed.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The file with the root's key cannot be read: {error.strerror}.", "Name it with --root-key."
        ) from error
    return TlsKey.from_pem(unsealed(content, passphrase))


def _make_issuer(home: CoordinatorHome, root: Issuer, *, now: float) -> str:
    """Put a new issuer and a listeners' certificate by it in force; returns the issuer's id."""
    keys, key = home.keys, TlsKey.generate()
    certificate_pem = new_issuer(root=root, key=key, now=now)
    write_file(keys.issuer_certificate, certificate_pem)
    key.save(keys.issuer_key)
    issue_server_certificate(home.settings(), keys, TlsKey.load(keys.tls_key), now=now)
    return certificate_id(certificate_pem)
