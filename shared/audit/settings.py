"""Noticing that a settings file has another content than when the log last told of it."""

from __future__ import annotations

import hashlib
from collections import deque

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
    told = deque((line for line in log.lines(subject=subject) if line.name == event.name), maxlen=1)
    old = str(told[0].details["new_sha256"]) if told else None
    new = hashlib.sha256(content).hexdigest()
    if new != old:
        log.append(event(subject=subject, old_sha256=old, new_sha256=new), actor=actor, at=at)
