"""What regulations ask for, and what of the software answers it: hints for those who decide, not advice."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from shared.audit.events import EVENTS
from shared.protection.organisation import OrganisationSettings
from shared.protection.pack import Grid, Section, said

BASES = (
    (
        "Ground for processing",
        "GDPR Art. 6(1)(e) (task in the public interest) or 6(1)(f) (legitimate interests); 6(1)(a) where "
        "the study rests on consent",
    ),
    (
        "Ground for data on health",
        "Art. 9(2)(j) with Art. 89(1) (scientific research); 9(2)(a) where the study rests on explicit "
        "consent",
    ),
    (
        "National law",
        "In Finland the Act on the Secondary Use of Health and Social Data (552/2019) and the Data "
        "Protection Act (1050/2018); elsewhere what stands in their place. The European Health Data Space "
        "(Regulation (EU) 2025/327) applies to secondary use from 26 March 2029",
    ),
    (
        "Impact assessment",
        "Art. 35(3)(b): data on health on a large scale. This pack and the threat model are made to go into "
        "it",
    ),
    (
        "Joint controllers",
        "Hospitals and coordinator that settle purposes and means together need an arrangement (Art. 26); a "
        "coordinator that acts for the hospitals needs a contract (Art. 28)",
    ),
    (
        "Is a model personal data?",
        "To be assessed case by case (EDPB Opinion 28/2024). What single updates could tell stands under "
        "'What remains at risk'",
    ),
    (
        "Withdrawal and objection",
        "Art. 7(3) and 21: `mammofed-site data remove --patient` erases the examples, keeps later rounds and "
        "imports without them, and lists the models that had used them",
    ),
)

AI_ACT = (
    (
        "12(1)",
        "Events are recorded automatically over the lifetime of the system",
        "The audit log at both sides; a line is committed with what it tells of",
    ),
    (
        "12(2)(a)",
        "Situations that may present a risk, or a substantial modification",
        "Refused and rejected contributions, contradicted histories, configuration and policy changes, "
        "revoked models and sites",
    ),
    (
        "12(2)(b)",
        "Post-market monitoring",
        "Publication and download of every model, with its digest and its run",
    ),
    (
        "12(2)(c)",
        "Monitoring of operation",
        "Every use of a model on an image, with the model and the person; no image is named",
    ),
    (
        "19, 26(6)",
        "Logs are kept for at least six months",
        "Lines are never removed; `audit export` hands them to the hospital's own log collector",
    ),
)


def legal_bases(organisation: OrganisationSettings) -> Section:
    """Hints at legal bases, under what the organisation has determined."""
    return Section(
        title="Legal bases",
        words=(
            f"Determined by the organisation: {said(organisation.legal_basis)}.",
            "The hints below are no legal advice.",
        ),
        grids=(Grid(title="Hints", head=("Question", "Where to look"), rows=BASES),),
    )


def logging(num_lines: Mapping[str, int]) -> Section:
    """AI Act Article 12, and every event that this software writes down.

    Parameters
    ----------
    num_lines
        Lines of this side's audit log by event.
    """
    rows = tuple(
        (name, _first_line(event), f"{num_lines.get(name, 0):,}") for name, event in sorted(EVENTS.items())
    )
    return Section(
        title="Logging",
        words=(
            "Regulation (EU) 2024/1689 (AI Act), Article 12. This software is for research; the table says "
            "what would answer the article in a high-risk system.",
        ),
        grids=(
            Grid(title="What the article asks", head=("Article", "Asks for", "Answered by"), rows=AI_ACT),
            Grid(title="What is written down", head=("Event", "Meaning", "Lines so far"), rows=rows),
        ),
    )


def _first_line(event: type) -> str:
    text = inspect.getdoc(event) or ""
    return " ".join(text.partition("\n\n")[0].split())
