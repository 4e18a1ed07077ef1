"""The page's form for what the hospital knows of one woman beside her images."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from client.catalog import Catalog
from client.clinic.following import keep_inputs
from client.followup.clinical import COLUMNS, YES_OR_NO, read_one
from client.home import SiteHome
from shared.errors import ConfigError
from shared.persons.acting import Actor
from shared.persons.roles import Action, may

MOST_BYTES = 4096
FIELDS = (
    ("patient_id", "Patient identifier", "As the images have it."),
    ("age", "Age", "In years; what an image says of it has the first word."),
    ("family_history", "A mother, sister or daughter with breast cancer", ""),
    ("biopsies", "Biopsies of the breast before", "How many."),
    ("polygenic_z", "Polygenic score", "In standard deviations from the mean of her ancestry."),
    ("lifetime_risk_percent", "Lifetime risk in %", "Computed elsewhere."),
)
"""Name, label and hint."""
CHOICES = {"family_history": tuple(YES_OR_NO)}
_TEXTS = TypeAdapter(dict[str, str])


def is_open(home: SiteHome, actor: Actor) -> bool:
    """Whether the form is for this person, at a site that uses what it asks for."""
    return may(actor.role, Action.DATA_IMPORT) and home.settings().follow_up is not None


async def small_body(request: Request) -> bytes:
    """What was sent, never more in memory than a form has. Raises ConfigError if it is larger."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise _no_form()
    return body


def keep_form(home: SiteHome, body: bytes, *, actor: str) -> str:
    """Take a filled-in form in, a JSON object of texts by name; what became of it, for a person.

    Raises
    ------
    ConfigError
        It is no such object; of wrong fields `WrongFieldsError`.
    BusyError, HomeError, StoreError
        As `client.clinic.following.keep_inputs`.
    """
    try:
        told = _TEXTS.validate_json(body)
    except ValidationError:
        raise _no_form() from None  # it would quote what was sent
    if not told.keys() <= set(COLUMNS):
        raise _no_form()
    patient, inputs = read_one(told)
    with Catalog.open(home.folder) as catalog:
        added = keep_inputs(catalog, {patient: inputs}, actor=actor)
    if added.num_withdrawn:
        return "This patient has withdrawn: nothing was kept."
    return "Kept under her pseudonym, in the place of what was known of her."


def _no_form() -> ConfigError:
    return ConfigError("What was sent is no form of this page.", "Load the page again.")
