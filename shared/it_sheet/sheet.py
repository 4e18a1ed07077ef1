"""The two pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from shared.it_sheet.firewall import FirewallRule
from shared.pages import render


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One line of the checklist: what to see to, and how it stands in the configuration."""

    what: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ItSheet:
    """Both pages of one role.

    Attributes
    ----------
    side
        Whose: a site's or the coordinator's name.
    at
        When it was made, with its zone.
    """

    title: str
    side: str
    at: datetime
    rules: Sequence[FirewallRule]
    points: Sequence[Point]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "at": self.at.isoformat()}

    def to_page(self) -> str:
        """HTML that prints on two pages of A4."""
        return render(__package__, "sheet.html.j2", "sheet.css", sheet=self)
