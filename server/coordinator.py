"""The coordinator's opened home: registers, blobs and the signing key, as the rounds need them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Literal

from server.authority import anchors_of, statements_of
from server.clock import Clock
from server.enrolment import CoordinatorIdentity
from server.home import CoordinatorHome, ExportForm
from server.issuing import issuer_of
from server.store import (
    AuditLog,
    Federation,
    Models,
    Outcomes,
    Persons,
    Runs,
    open_coordinator_store,
)
from server.store.alerts import Alerts
from server.store.applications import Applications
from server.store.audit import COORDINATOR
from server.store.closed_attempts import ClosedAttempts
from server.store.consents import Consents
from server.store.histories import Histories
from server.store.identities import Identities
from server.store.memberships import Memberships
from server.store.second_factors import SecondFactors
from server.store.sign_ins import Passwords, SignIns
from server.store.situations import Situations
from server.store.transfers import Transfers
from server.store.troubles import Troubles
from shared.errors import AdmissionError, TrustError
from shared.supplements import SupplementKind
from shared.transfer.blob_store import BlobStore
from shared.trust.anchors import Anchors
from shared.trust.envelope import Envelope
from shared.trust.keys import SigningKey, VerifyKey
from shared.trust.tls import join_address

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """Everything that the coordinator keeps, opened."""

    name: str
    federation: Federation
    applications: Applications
    memberships: Memberships
    runs: Runs
    outcomes: Outcomes
    histories: Histories
    closed_attempts: ClosedAttempts
    transfers: Transfers
    troubles: Troubles
    alerts: Alerts
    consents: Consents
    situations: Situations
    models: Models
    audit: AuditLog
    clock: Clock
    persons: Persons
    passwords: Passwords
    sign_ins: SignIns
    second_factors: SecondFactors
    identities: Identities
    blobs: BlobStore
    signing_key: SigningKey
    anchors: Anchors
    exports: tuple[ExportForm, ...]
    checkpoints: Literal["all", "last"]
    release_needs: frozenset[SupplementKind]

    def checkpoint(self) -> str:
        """Where the coordinator's audit log stands now, signed, as the sites are given it."""
        envelope = self.audit.checkpoint(side=COORDINATOR, key=self.signing_key, at=time.time())
        return envelope.to_bytes().decode()

    def keep_checkpoint(self, site_id: str, checkpoint: str, key: VerifyKey) -> None:
        """Keep a site's checkpoint of its own audit log; one that contradicts an earlier one is written down.

        Raises
        ------
        AdmissionError
            The site has not signed it for its own log.
        """
        try:
            found = self.audit.keep_checkpoint(
                site_id, Envelope.from_bytes(checkpoint.encode()), key=key, actor=COORDINATOR, at=time.time()
            )
        except TrustError as error:
            raise AdmissionError(
                "A contribution was rejected. Its checkpoint is not of the site's own audit log.",
                "Ask the site for its log of this round.",
            ) from error
        if found is not None:
            log.error("%s has signed two histories: %s", site_id, found.value)

    def kept_digests(self) -> frozenset[str]:
        """The coordinator's own blobs: plans, weights of rounds, files of published models."""
        return self.runs.digests(finished=self.checkpoints) | self.models.digests()

    @classmethod
    def open(cls, home: CoordinatorHome) -> Coordinator:
        """Open a home folder.

        Raises
        ------
        HomeError
            The folder is not a coordinator's home.
        StoreError
            Its database cannot be opened.
        TrustError
            Its signing key cannot be read.
        """
        settings = home.settings()
        engine = open_coordinator_store(home.folder, home.database(settings))
        return cls(
            name=settings.name,
            federation=Federation(engine),
            applications=Applications(engine),
            memberships=Memberships(engine),
            runs=Runs(engine),
            outcomes=Outcomes(engine),
            histories=Histories(engine),
            closed_attempts=ClosedAttempts(engine),
            transfers=Transfers(engine),
            troubles=Troubles(engine),
            alerts=Alerts(engine),
            consents=Consents(engine),
            situations=Situations(engine),
            models=Models(engine),
            audit=AuditLog(engine),
            clock=Clock(AuditLog(engine)),
            persons=Persons(engine),
            passwords=Passwords(engine),
            sign_ins=SignIns(engine),
            identities=Identities(engine),
            second_factors=SecondFactors(engine, home.second_factor_key_file),
            blobs=BlobStore(home.blobs),
            signing_key=SigningKey.load(home.signing_key_file),
            anchors=anchors_of(home),
            exports=tuple(settings.exports),
            checkpoints=settings.checkpoints,
            release_needs=frozenset(settings.release_needs),
        )


def identity_of(home: CoordinatorHome) -> CoordinatorIdentity:
    """What enrolled sites learn of this home's coordinator, with the key that issues their certificates.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    TrustError
        A key of it cannot be read.
    """
    settings = home.settings()
    return CoordinatorIdentity(
        name=settings.name,
        anchors=anchors_of(home),
        statements=statements_of(home),
        fleet_address=join_address(*settings.fleet),
        transfer_address=join_address(*settings.transfer),
        certificate_days=settings.site_certificate_days,
        issuer=issuer_of(home.keys),
    )
