"""Hospitals as rows of `site list`: whole for machines, and as wide as a terminal for persons."""

from __future__ import annotations

import math
import time
from typing import Any

from server.members import Contact, Member

DAY_S = 86_400.0
INVITED = "invited"
MACHINE = (
    *("name", "site_id", "state", "software", "fits", "enrolled", "online", "silent_since", "paused"),
    *("examples", "certificate_ends_at", "plans", "situation", "readiness"),
)
TOLD = {"training", "validation", "test", "gpus"}
PERSON = ("name", "state", "contact", "examples", "plans", "certificate", "software")


def of_machine(member: Member) -> dict[str, Any]:
    """JSON values; times in seconds since the Unix epoch."""
    contact, told = member.contact, member.situation
    return {
        "name": member.name,
        "site_id": member.site_id,
        "state": member.state.value,
        "software": member.software,
        "fits": member.fit.value,
        "enrolled": time.strftime("%Y-%m-%d %H:%M", time.localtime(member.since)),
        "online": None if contact is None else contact.is_online,
        "silent_since": None if contact is None else contact.silent_since,
        "paused": member.is_paused,
        "examples": member.num_examples,
        "certificate_ends_at": member.certificate_ends_at,
        "plans": {stand.run_id: stand.state.value for stand in member.stands},
        "situation": None if told is None else told.model_dump(mode="json", include=TOLD),
        "readiness": None if member.fitness is None else member.fitness.value,
    }


def of_person(member: Member, *, now: float) -> dict[str, str]:
    """Words."""
    ends_at = member.certificate_ends_at
    days = "" if ends_at is None else f"{max(0, math.floor((ends_at - now) / DAY_S))} days"
    return {
        "name": member.name,
        "state": "paused" if member.is_paused else member.state.value,
        "contact": _words(member.contact),
        "examples": "" if member.num_examples is None else str(member.num_examples),
        "plans": "\n".join(f"{stand.run_name}: {stand.state.value}" for stand in member.stands),
        "certificate": days,
        "software": member.software if member.fit.is_good else f"{member.software}: {member.fit.value}",
    }


def machine_of_invited(name: str) -> dict[str, Any]:
    """A hospital that has not used its invitation yet, as a row beside those of `of_machine`."""
    return {**dict.fromkeys(MACHINE), "name": name, "state": INVITED, "plans": {}}


def person_of_invited(name: str) -> dict[str, str]:
    """The same beside those of `of_person`."""
    return {**dict.fromkeys(PERSON, ""), "name": name, "state": INVITED}


def _words(contact: Contact | None) -> str:
    if contact is None:
        return "unknown"
    if contact.is_online:
        return "answers"
    if contact.silent_since is None:
        return "not heard yet"
    return f"silent since {time.strftime('%Y-%m-%d %H:%M', time.localtime(contact.silent_since))}"
