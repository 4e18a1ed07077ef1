"""The numbers of a site's data in the order in which a person asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from client.catalog import Catalog, Counts, Part, Removal
from client.intake.exclusions import EXPLANATIONS, QUARANTINED, Reason
from client.readiness import PART_NAMES, Readiness, assess
from shared.plan import Plan

UNKNOWN = "unknown"
"""How the catalog names what no file told."""
VENDORS = {"ge": "GE", "ims giotto": "IMS Giotto", "other": "other", UNKNOWN: UNKNOWN}
"""Names of the intake's closed list that are not merely capitalised."""

Rows = tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLine:
    """One part of the split.

    Attributes
    ----------
    patients
        Whether or not their examples have masks.
    labelled
        Examples with masks.
    """

    part: Part
    patients: int
    labelled: int

    @property
    def name(self) -> str:
        """For people."""
        return PART_NAMES[self.part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The examples by one property: name and number of each value, what is unknown last."""

    title: str
    lines: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionLine:
    """Images that imports have left out for one reason.

    Attributes
    ----------
    quarantined
        Something is broken and may be mended, as opposed to a choice.
    """

    reason: str
    count: int
    quarantined: bool
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What a site holds; nothing in it names a person or a file.

    Attributes
    ----------
    title
        Name of the site, or what stands for it.
    at
        When it was counted, with a time zone.
    exclusions
        Most frequent first.
    removals
        Oldest first.
    readiness
        For a given plan; None when none was given.
    """

    title: str
    at: datetime
    examples: int
    labelled: int
    patients: int
    parts: tuple[PartLine, ...]
    breakdowns: tuple[Breakdown, ...]
    exclusions: tuple[ExclusionLine, ...]
    removals: tuple[Removal, ...]
    readiness: Readiness | None

    @property
    def unlabelled(self) -> int:
        """Examples that wait for a mask."""
        return self.examples - self.labelled

    def of_kind(self, *, quarantined: bool) -> tuple[ExclusionLine, ...]:
        """The exclusions of one kind."""
        return tuple(line for line in self.exclusions if line.quarantined is quarantined)

    def tables(self) -> dict[str, Rows]:
        """The report as tables for a terminal, by title; a table without a row is left out."""
        tables: dict[str, Rows] = {
            "Split by patient": tuple(
                {"part": line.name, "patients": line.patients, "with_masks": line.labelled}
                for line in self.parts
            )
        }
        for breakdown in self.breakdowns:
            tables[breakdown.title] = tuple(
                {"value": name, "examples": count} for name, count in breakdown.lines
            )
        for title, quarantined in (("Excluded", False), ("Quarantined", True)):
            tables[title] = tuple(
                {"images": line.count, "reason": line.message, "remedy": line.remedy}
                for line in self.of_kind(quarantined=quarantined)
            )
        tables["Removals"] = tuple(
            {
                "day": day_of(removal.at),
                "patients": removal.patients,
                "examples": removal.examples,
                "used_by_runs": ", ".join(removal.runs) or "none",
            }
            for removal in self.removals
        )
        if self.readiness is not None:
            tables[f"Readiness for '{self.readiness.plan_name}'"] = tuple(
                {
                    "check": finding.name,
                    "passed": "yes" if finding.passed else "no",
                    "finding": finding.finding,
                    "remedy": finding.remedy,
                }
                for finding in self.readiness.findings
            )
        return {title: rows for title, rows in tables.items() if rows}

    def to_json(self) -> dict[str, object]:
        """The report as plain JSON values."""
        readiness = self.readiness
        return {
            "title": self.title,
            "at": self.at.isoformat(timespec="seconds"),
            "examples": self.examples,
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "patients": self.patients,
            "parts": {
                line.part.value: {"patients": line.patients, "labelled": line.labelled} for line in self.parts
            },
            "breakdowns": {breakdown.title: dict(breakdown.lines) for breakdown in self.breakdowns},
            "exclusions": [asdict(line) for line in self.exclusions],
            "removals": [
                {**asdict(removal), "at": day_of(removal.at), "runs": list(removal.runs)}
                for removal in self.removals
            ],
            "readiness": None
            if readiness is None
            else {
                "plan": readiness.plan_name,
                "ready": readiness.ready,
                "findings": [{**asdict(one), "passed": one.passed} for one in readiness.findings],
            },
        }


def describe(catalog: Catalog, *, title: str, at: datetime, plan: Plan | None = None) -> DataReport:
    """Count a catalog; no example is read.

    Raises
    ------
    StoreError
        The database cannot be read.
    """
    counts = catalog.counts()
    return DataReport(
        title=title,
        at=at,
        examples=counts.examples,
        labelled=counts.labelled,
        patients=counts.patients,
        parts=tuple(
            PartLine(part=part, patients=counts.patients_by_part[part], labelled=counts.by_part[part])
            for part in Part
        ),
        breakdowns=_breakdowns(counts),
        exclusions=_exclusions(catalog.exclusions()),
        removals=tuple(catalog.removals()),
        readiness=None if plan is None else assess(counts, plan),
    )


def day_of(seconds: float) -> str:
    """The day (UTC, ISO 8601) of a time in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _breakdowns(counts: Counts) -> tuple[Breakdown, ...]:
    sides = {"L": "left", "R": "right"}
    by_title = {
        "Vendor": {VENDORS.get(name, name.title()): count for name, count in counts.by_manufacturer.items()},
        "View": counts.by_view,
        "Laterality": {sides.get(side, side): count for side, count in counts.by_laterality.items()},
        "Year": counts.by_year,
        "Density category": counts.by_density,
        "Mask": {drawn.words: count for drawn, count in counts.by_mask.items()},
    }
    return tuple(
        Breakdown(title=title, lines=_unknown_last(numbers)) for title, numbers in by_title.items() if numbers
    )


def _unknown_last(numbers: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(numbers.items(), key=lambda item: (item[0] == UNKNOWN, item[0])))


def _exclusions(counts: Mapping[str, int]) -> tuple[ExclusionLine, ...]:
    lines = []
    for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        reason = Reason(code)
        explanation = EXPLANATIONS[reason]
        lines.append(
            ExclusionLine(
                reason=reason.value,
                count=count,
                quarantined=reason in QUARANTINED,
                message=explanation.message,
                remedy=explanation.remedy,
            )
        )
    return tuple(lines)
