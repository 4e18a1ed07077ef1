"""Pausing, going on, and leaving: each works here at once, whether the coordinator can be told or not."""

from __future__ import annotations

import shutil
import time

from client.consenting import Consenting
from client.home import SiteHome
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from client.telling import Telling, tell
from shared.audit.events import SiteLeft, SitePaused
from shared.consent.records import Presence
from shared.errors import UnreachableError
from shared.files import write_file


def pause(home: SiteHome, *, actor: str) -> Telling:
    """Stop training within a step, and take part in nothing until `resume`; whether the coordinator knows.

    A coordinator that cannot be told now is told by the running site as soon as it answers. `actor` is who
    does it, as the audit log names them.

    Raises
    ------
    HomeError
        The site has not joined.
    """
    home.membership()
    write_file(home.paused_file, b"")
    return _tell(home, Presence.PAUSED, actor)


def resume(home: SiteHome, *, actor: str) -> Telling:
    """Take part again from the next round on; whether the coordinator knows. Raises as `pause`."""
    home.membership()
    home.paused_file.unlink(missing_ok=True)
    return _tell(home, Presence.RESUMED, actor)


def leave(home: SiteHome, *, untold: bool, actor: str) -> Telling:
    """End the membership for good and remove this site's keys; whether the coordinator knows. Data stay.

    A coordinator that answers that this site is revoked knows, whether it was asked before or not.

    Parameters
    ----------
    untold
        Leave also if the coordinator cannot be told or does not listen, who then has to revoke the site
        without being asked.

    Raises
    ------
    HomeError
        The site has not joined.
    UnreachableError
        The coordinator cannot be told; the site is paused, and still a member.
    """
    membership, was_paused = home.membership(), home.paused_file.exists()
    write_file(home.paused_file, b"")
    telling = _tell(home, Presence.LEFT, actor)
    if telling.is_revoked:
        telling = Telling(told=True)
    if not telling.told and not untold:
        if not was_paused:
            _write_down(home, SitePaused(subject=membership.site_id), actor)
        raise UnreachableError(
            "The coordinator cannot be told that this site leaves; the site is paused meanwhile.",
            "Run `leave` again when it answers, or with --untold: then ask it to revoke this site.",
        )
    with Consenting(home) as consenting:
        consenting.plans.close(still_open=())
    _write_down(home, SiteLeft(subject=membership.site_id), actor)
    # First the membership: a running site ends when there is none, and looks for no key after that.
    home.membership_file.unlink()
    for file in (home.runtime_secret_file, home.root_certificate_file, home.approved_bundles_file):
        file.unlink(missing_ok=True)
    for each in range(1, membership.key_generation + 1):
        shutil.rmtree(home.keys(each).folder, ignore_errors=True)
    first = home.keys(0)
    for file in (first.tls, first.signing, first.node):
        file.unlink(missing_ok=True)
    home.paused_file.unlink()
    return telling


def _tell(home: SiteHome, presence: Presence, actor: str) -> Telling:
    with Consenting(home) as consenting:
        consenting.state_presence(presence, actor=actor)
        return tell(consenting)


def _write_down(home: SiteHome, event: SiteLeft | SitePaused, actor: str) -> None:
    engine = open_site_store(home.folder)
    try:
        AuditLog(engine).append(event, actor=actor, at=time.time())
    finally:
        engine.dispose()
