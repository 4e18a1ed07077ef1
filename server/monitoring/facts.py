"""What the rules of alerts judge: the federation as it stands at one moment.

Times are seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that must not end unseen; `whose` is a site's name or says which of our own it is."""

    whose: str
    begins_at: float
    ends_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """An active site.

    Attributes
    ----------
    silent_since
        When it was last in touch, or when the watching began if that is later; None while it is in touch.
    """

    site_id: str
    name: str
    silent_since: float | None
    is_paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run that is not over.

    Attributes
    ----------
    approved
        Ids of the sites that approve of its plan.
    values
        Of the watched measure over all sites, at the last rounds: number and value, oldest first.
    """

    run_id: str
    name: str
    num_rounds: int
    num_aggregated: int
    quorum: int
    approved: frozenset[str]
    values: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRun:
    """A run that came to no end of its own."""

    run_id: str
    name: str
    failed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt at a round that closed without enough answers; nobody had stopped it."""

    run_id: str
    run_name: str
    phase: str
    number: int
    attempt: int
    num_asked: int
    num_admitted: int
    closed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAnswer:
    """A contribution that was not let in."""

    run_id: str
    run_name: str
    phase: str
    number: int
    attempt: int
    site_id: str
    site_name: str
    rejected_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it.

    Attributes
    ----------
    is_contact_known
        Whether the SuperLink has told who is in touch; else nothing is held of that.
    free_bytes
        On the disk of the home folder; None if it does not tell.
    """

    sites: Sequence[SiteFacts]
    is_contact_known: bool
    certificates: Sequence[Certificate]
    runs: Sequence[RunFacts]
    failed_runs: Sequence[FailedRun]
    failed_attempts: Sequence[FailedAttempt]
    rejected: Sequence[RejectedAnswer]
    free_bytes: int | None
