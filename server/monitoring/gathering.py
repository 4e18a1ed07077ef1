"""Reads the facts that alerts are judged from: the store, the SuperLink's table of nodes, the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import ConsentState
from server.members import Contact
from server.monitoring.facts import Certificate, Facts, RunFacts, SiteFacts
from server.monitoring.rules import NEWS_S
from server.store import Run, Site
from server.store.troubles import Troubles
from shared.evaluation.measures import figures
from shared.evaluation.pooling import pool
from shared.plan import Plan
from shared.records import Phase
from shared.trust.certificates import expires_at, issued_at

ROUNDS_COMPARED = 20
"""How far back the best of a measure is looked for, so that a look costs the same in a long run."""


class Contacts(Protocol):
    """Who is in touch; `server.flower.control` knows it."""

    def contacts(self) -> Mapping[int, Contact]:
        """By node id; empty while nothing is known."""
        ...


class Gatherer:
    """Reads the facts, again and again; values of rounds that are over are read once.

    Parameters
    ----------
    measure
        Whose values are read of each run.
    began_at
        When the watching began: a site that was never heard since is silent since then.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        coordinator: Coordinator,
        contacts: Contacts,
        *,
        measure: str,
        began_at: float,
    ) -> None:
        self._home = home
        self._coordinator = coordinator
        self._contacts = contacts
        self._measure = measure
        self._began_at = began_at
        self._values: dict[str, dict[int, tuple[int, float] | None]] = {}

    def gather(self, *, now: float) -> Facts:
        """How things stand now. Raises StoreError."""
        contacts = self._contacts.contacts()
        sites = self._coordinator.federation.active()
        paused = self._coordinator.consents.paused()
        unfinished = self._coordinator.runs.unfinished()
        aggregated = self._coordinator.outcomes.num_aggregated() if unfinished else {}
        troubles = self._coordinator.troubles
        self._values = {run.run_id: self._values.get(run.run_id, {}) for run in unfinished}
        return Facts(
            sites=[self._site(site, contacts, is_paused=site.site_id in paused) for site in sites],
            is_contact_known=bool(contacts),
            certificates=[*self._own_certificates(), *map(_certificate, sites)],
            runs=[self._run(run, aggregated.get(run.run_id, 0), troubles) for run in unfinished],
            failed_runs=troubles.failed_runs(since=now - NEWS_S),
            failed_attempts=troubles.failed_attempts(since=now - NEWS_S),
            rejected=troubles.rejected(since=now - NEWS_S),
            free_bytes=self._free_bytes(),
        )

    def _site(self, site: Site, contacts: Mapping[int, Contact], *, is_paused: bool) -> SiteFacts:
        contact = None if site.node_id is None else contacts.get(site.node_id)
        is_online = contact is not None and contact.is_online
        last = contact.silent_since if contact is not None else None
        return SiteFacts(
            site_id=site.site_id,
            name=site.name,
            silent_since=None if is_online else max(last or 0.0, self._began_at, site.enrolled_at),
            is_paused=is_paused,
        )

    def _own_certificates(self) -> Iterator[Certificate]:
        files = {
            "the federation's root": self._home.root_certificate_file,
            "the listeners": self._home.tls_chain_file,
        }
        if (issuer := self._home.keys.issuer_certificate).exists():
            files["the issuer in the root's place"] = issuer
        for whose, file in files.items():
            pem = file.read_bytes()
            yield Certificate(whose=whose, begins_at=issued_at(pem), ends_at=expires_at(pem))

    def _run(self, run: Run, num_aggregated: int, troubles: Troubles) -> RunFacts:
        plan = Plan.from_toml(run.plan_toml)
        numbers = troubles.aggregated(run.run_id, most=ROUNDS_COMPARED)
        return RunFacts(
            run_id=run.run_id,
            name=run.name,
            num_rounds=plan.rounds.count,
            num_aggregated=num_aggregated,
            quorum=plan.least_cohort,
            approved=self._coordinator.consents.sites_in(ConsentState.APPROVED, run.run_id),
            values=self._values_of(run.run_id, numbers, troubles),
        )

    def _values_of(
        self, run_id: str, numbers: Sequence[int], troubles: Troubles
    ) -> Sequence[tuple[int, float]]:
        """Of the rounds in which as many sites tell the measure as in any: others are of fewer images.

        Where it is told in aggregate only, images are counted in the place of sites.
        """
        read = self._values[run_id]
        unread = [number for number in numbers if number not in read]
        together = self._coordinator.histories.together(run_id, Phase.TRAIN, unread) if unread else {}
        for number, all_told in together.items():
            figure = figures(all_told.evaluation).get(self._measure) if all_told.evaluation else None
            read[number] = None if figure is None else (figure.num_images, figure.value)
        unread = [number for number in unread if number not in together]
        for number, told in (troubles.evaluations(run_id, unread) if unread else {}).items():
            telling = [each for each in told if self._measure in figures(each)]
            pooled = pool(telling)
            figure = figures(pooled).get(self._measure) if pooled else None
            read[number] = None if figure is None else (len(telling), figure.value)
        self._values[run_id] = {number: read[number] for number in numbers}
        known = [(number, *found) for number in numbers if (found := read[number]) is not None]
        most = max((num_telling for _, num_telling, _ in known), default=0)
        return [(number, value) for number, num_telling, value in known if num_telling == most]

    def _free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self._home.folder).free
        except OSError:
            return None


def _certificate(site: Site) -> Certificate:
    pem = site.certificate_pem
    return Certificate(whose=site.name, begins_at=issued_at(pem), ends_at=expires_at(pem))
