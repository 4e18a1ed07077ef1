"""Links to the page: made for a person, kept by hash, ended by time or with the service."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from dataclasses import dataclass

from client.home import LOOPBACK, SiteHome
from shared.errors import HomeError, TrustError
from shared.files import is_held, make_private_folder, write_file
from shared.persons.acting import Actor
from shared.persons.person import PersonState
from shared.persons.register import Persons
from shared.persons.roles import Role

LINK_LIFE_S = 12 * 3600.0
KEY_BYTES = 32
_PERSON = "person:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Whose a link is.

    Attributes
    ----------
    ends_at
        Seconds since the Unix epoch.
    """

    actor: str
    ends_at: float


def open_for_links(home: SiteHome, port: int) -> None:
    """Let links be made to a page that listens on this port; those of before have ended."""
    shutil.rmtree(home.links, ignore_errors=True)
    make_private_folder(home.links)
    write_file(home.links / "port", str(port).encode(), is_durable=False)


def mint(home: SiteHome, *, actor: str) -> str:
    """The URL of a new link for somebody, as the audit log names them.

    Raises
    ------
    HomeError
        No site is running here.
    """
    try:
        port = int((home.links / "port").read_text())
    except (OSError, ValueError) as error:
        raise _not_running() from error
    if not is_held(home.folder):
        raise _not_running()
    key = secrets.token_urlsafe(KEY_BYTES)
    link = {"actor": actor, "ends_at": time.time() + LINK_LIFE_S}
    write_file(home.links / _name(key), json.dumps(link).encode(), is_durable=False)
    return f"http://{LOOPBACK}:{port}/#{key}"


def find(home: SiteHome, key: str, *, now: float) -> Link | None:
    """The link that a key is of; None if it is of none, or of one that has ended."""
    try:
        document = json.loads((home.links / _name(key)).read_bytes())
    except (OSError, ValueError):
        return None
    link = Link(actor=document["actor"], ends_at=document["ends_at"])
    return link if now < link.ends_at else None


def actor_of(link: Link, persons: Persons) -> Actor:
    """Who acts by a link, in the role that they have now.

    Raises
    ------
    TrustError
        The person was disabled since, or it must be known now who acts.
    """
    named = persons.all()
    if link.actor.startswith(_PERSON):
        name = link.actor.removeprefix(_PERSON)
        for person in named:
            if person.name == name and person.state is PersonState.ACTIVE:
                return Actor(name=link.actor, role=person.role)
        raise TrustError("The link's person was disabled.", "Ask an administrator.")
    if named:
        raise TrustError(
            "It must be known who acts: this home has named persons by now.",
            "Make a link of your own with `mammofed-site page`.",
        )
    return Actor(name=link.actor, role=Role.ADMINISTRATOR)


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _not_running() -> HomeError:
    return HomeError("This site is not running.", "Start it with `mammofed-site serve`; the page is its own.")
