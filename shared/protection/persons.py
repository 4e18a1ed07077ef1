"""Who operates a side, and what each role may do."""

from __future__ import annotations

from collections.abc import Sequence

from shared.persons.person import Person
from shared.persons.roles import MINIMAL_ROLE, Role
from shared.protection.pack import Grid, Section


def persons_in_words(persons: Sequence[Person]) -> Section:
    """The persons of a side, and the roles."""
    return Section(
        title="Persons and roles",
        words=(
            ()
            if persons
            else (
                "No person was added yet: the owner of the home folder acts as administrator, under the "
                "name of their account.",
            )
        ),
        grids=(
            Grid(
                title="Persons",
                head=("Name", "Role", "State"),
                rows=tuple((one.name, one.role.value, one.state.value) for one in persons),
            ),
            Grid(title="Roles", head=("Role", "May also"), rows=tuple(_roles())),
        ),
    )


def _roles() -> list[tuple[str, str]]:
    return [
        (role.value, ", ".join(action.value for action, least in MINIMAL_ROLE.items() if least is role))
        for role in Role
    ]
