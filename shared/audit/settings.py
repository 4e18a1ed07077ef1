"""Noticing that a settings file has another content than when the log last told of it."""

from __future__ import annotations

import hashlib

from shared.audit.chain import AuditLine
from shared.audit.events import ConfigurationChanged, PolicyChanged
from shared.audit.log import AuditLog


def note_settings(
    log: AuditLog,
    content: bytes,
    *,
    subject: str,
    event: type[ConfigurationChanged | PolicyChanged] = ConfigurationChanged,
    actor: str,
    at: float,
) -> None:
    """Write down a file's digest unless it is the one that was last written down; its content is not told.

    Parameters
    ----------
    content
        Of the file; empty if there is none.
    actor
        Who noticed it: a file's editor is not known.
    """
    new = hashlib.sha256(content).hexdigest()

    def change(told: AuditLine | None) -> ConfigurationChanged | PolicyChanged | None:
        old = str(told.details["new_sha256"]) if told else None
        return event(subject=subject, old_sha256=old, new_sha256=new) if new != old else None

    # Looked at without the write lock first: a running site asks every other second.
    if change(log.last(event, subject=subject)) is not None:
        log.append_after_last(event, change, subject=subject, actor=actor, at=at)
