"""The hospitals as persons are shown them: who they are, and what the coordinator knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version

from server.coordinator import Coordinator
from server.lifecycle import ConsentState, SiteState
from shared.consent.records import Situation
from shared.trust.certificates import expires_at
from shared.versions import Fit, fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Whether a site's node answers.

    Attributes
    ----------
    silent_since
        When it was last given up, in seconds since the Unix epoch; None while it answers, and where it was
        never heard since the coordinator's start.
    """

    is_online: bool
    silent_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a site stands with the plan of a run that is not over."""

    run_id: str
    run_name: str
    state: ConsentState


class Fitness(Enum):
    """Whether what a site tells of its examples is enough for training at all."""

    READY = "ready"
    NOT_KNOWN = "not known: of some part it has too few to tell of"


def fitness_of(situation: Situation) -> Fitness:
    """Ready is a site that has examples to train on, to choose by and to test on.

    How many a plan needs beyond that is judged at the site, where the numbers are whole.
    """
    told = (situation.training, situation.validation, situation.test)
    return Fitness.NOT_KNOWN if None in told else Fitness.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A hospital that waits, takes part, or did; times in seconds since the Unix epoch.

    Attributes
    ----------
    since
        When it was let in, or when it has asked to be.
    fingerprint
        Of the keys with which it waits; None if it does not wait.
    certificate_ends_at
        None while it waits.
    contact
        None where nothing is known of it: it takes no part, or the SuperLink does not answer.
    num_examples
        Training examples as it last told them, under its own policy; None if it never did.
    situation
        What it tells of its examples and GPUs outside of runs; None if its policy, or its version, tells
        nothing.
    stands
        With the plans of runs that are not over.
    """

    name: str
    site_id: str
    state: SiteState
    software: str
    fit: Fit
    since: float
    fingerprint: str | None = None
    certificate_ends_at: float | None = None
    contact: Contact | None = None
    is_paused: bool = False
    num_examples: int | None = None
    situation: Situation | None = None
    stands: Sequence[Stand] = ()

    @property
    def fitness(self) -> Fitness | None:
        """None where it tells nothing of its examples."""
        return None if self.situation is None else fitness_of(self.situation)


def waiting_members(coordinator: Coordinator) -> list[Member]:
    """Those that wait for approval, oldest first."""
    return [
        Member(
            name=each.site_name,
            site_id=each.site_id,
            state=SiteState.PENDING,
            software=each.keys.software_version,
            fit=fit(version("mammofed"), each.keys.software_version),
            since=each.asked_at,
            fingerprint=each.keys.fingerprint,
        )
        for each in coordinator.applications.waiting()
    ]


def enrolled_members(coordinator: Coordinator, contacts: Mapping[int, Contact]) -> list[Member]:
    """Those that were let in, by name.

    Parameters
    ----------
    contacts
        By Flower's node id; empty where they are not known.
    """
    paused, told = coordinator.consents.paused(), coordinator.outcomes.told_examples()
    stands, situations = _stands(coordinator), coordinator.situations.told()
    return [
        Member(
            name=site.name,
            site_id=site.site_id,
            state=site.state,
            software=site.software_version,
            fit=fit(version("mammofed"), site.software_version),
            since=site.enrolled_at,
            certificate_ends_at=expires_at(site.certificate_pem),
            contact=contacts.get(site.node_id) if site.node_id is not None else None,
            is_paused=site.site_id in paused,
            num_examples=told.get(site.site_id),
            situation=situations.get(site.site_id),
            stands=stands.get(site.site_id, ()),
        )
        for site in coordinator.federation.sites()
    ]


def _stands(coordinator: Coordinator) -> Mapping[str, Sequence[Stand]]:
    stands: dict[str, list[Stand]] = {}
    for run in coordinator.runs.unfinished():
        for each in coordinator.consents.of_run(run.run_id):
            stand = Stand(run_id=run.run_id, run_name=run.name, state=each.state)
            stands.setdefault(each.site_id, []).append(stand)
    return stands
