"""Consent at the coordinator: sites are shown plans, and what they say to them is verified and kept.

Checks of a statement, in this order:

1. the caller's certificate names a site that is active, and is one that it has now;
2. the statement is signed by that site's own key, and speaks of no other site;
3. a named person's decision bears that person's signature;
4. it is about the very plan of an open run that the site was asked about, and no replay of an older one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import grpc

from server.coordinator import Coordinator
from server.store import Run
from shared.consent import consent_pb2, consent_pb2_grpc
from shared.consent.records import (
    NOTICE_TYPE,
    OFFER_TYPE,
    SITUATION_TYPE,
    STATED_DECISION_TYPE,
    Decision,
    Notice,
    Offer,
    Presence,
    Situation,
    StatedDecision,
)
from shared.errors import AggregationError, NotFoundError, TrustError
from shared.published import PUBLISHED_TYPE
from shared.transfer.rpc import REVOKED, RefusedCallError, answering, calling_site
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import VerifyKey

logger = logging.getLogger(__name__)

LEFT = "the site has left"
FINAL = (TrustError, NotFoundError, AggregationError)
"""What is wrong with a statement, and stays so."""


class ConsentService(consent_pb2_grpc.ConsentServicer):
    """Answers member sites.

    Parameters
    ----------
    bundle_sha256
        Of the bundle that runs are started with.
    clock
        Seconds since the Unix epoch.
    """

    def __init__(self, coordinator: Coordinator, *, bundle_sha256: str, clock: Callable[[], float]) -> None:
        self._coordinator = coordinator
        self._bundle_sha256 = bundle_sha256
        self._clock = clock

    def add_to(self, server: grpc.Server) -> None:
        """Answer on this server, whose listener must ask for certificates."""
        consent_pb2_grpc.add_ConsentServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def Offers(  # noqa: N802 - named by the protocol
        self, request: consent_pb2.OffersRequest, context: grpc.ServicerContext
    ) -> consent_pb2.OffersReply:
        """The plans of the runs that are open, and a record of their having been shown."""
        with answering(context):
            site_id = self._member(context)
            runs = self._coordinator.runs.unfinished()
            for run in runs:
                self._coordinator.consents.offer(run.run_id, site_id, at=self._clock())
            return consent_pb2.OffersReply(
                envelope=[self._offer(run, site_id) for run in runs],
                published_sha256=self._coordinator.models.published().digest,
            )
        raise AssertionError("answering has ended the call")

    def Published(  # noqa: N802 - named by the protocol
        self, request: consent_pb2.PublishedRequest, context: grpc.ServicerContext
    ) -> consent_pb2.PublishedReply:
        """The published models and their states."""
        with answering(context):
            self._member(context)
            payload = self._coordinator.models.published().to_bytes()
            envelope = sign(PUBLISHED_TYPE, payload, self._coordinator.signing_key)
            return consent_pb2.PublishedReply(envelope=envelope.to_bytes())
        raise AssertionError("answering has ended the call")

    def State(  # noqa: N802 - named by the protocol
        self, request: consent_pb2.StateRequest, context: grpc.ServicerContext
    ) -> consent_pb2.StateReply:
        """Keep a site's statement, or refuse it."""
        with answering(context):
            site_id = self._member(context)
            try:
                self._keep(site_id, request.envelope)
            except FINAL as error:
                # The site does not say it again. A fault of our own store is another matter, and passes.
                logger.warning("A statement of site %s was refused: %s", site_id, error.message)
                raise RefusedCallError(grpc.StatusCode.FAILED_PRECONDITION, type(error).__name__) from error
            return consent_pb2.StateReply()
        raise AssertionError("answering has ended the call")

    def Situate(  # noqa: N802 - named by the protocol
        self, request: consent_pb2.SituateRequest, context: grpc.ServicerContext
    ) -> consent_pb2.SituateReply:
        """Keep what a site tells of itself, or refuse it; checks 1., 2. and the second half of 4."""
        with answering(context):
            site_id = self._member(context)
            try:
                envelope = Envelope.from_bytes(request.envelope)
                key = self._key(site_id, envelope)
                situation = Situation.from_bytes(verify(envelope, SITUATION_TYPE, key))
                self._require_own(situation.site_id, site_id)
                self._coordinator.situations.keep(situation, envelope=request.envelope, at=self._clock())
            except FINAL as error:
                logger.warning("What site %s tells of itself was refused: %s", site_id, error.message)
                raise RefusedCallError(grpc.StatusCode.FAILED_PRECONDITION, type(error).__name__) from error
            return consent_pb2.SituateReply()
        raise AssertionError("answering has ended the call")

    def _member(self, context: grpc.ServicerContext) -> str:
        # 1.
        site_id, certificate_pem = calling_site(context)
        if not self._coordinator.federation.is_active(site_id):
            raise RefusedCallError(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
        if not self._coordinator.memberships.accepts(site_id, certificate_pem):
            raise RefusedCallError(grpc.StatusCode.UNAUTHENTICATED, "certificate")
        return site_id

    def _offer(self, run: Run, site_id: str) -> bytes:
        offer = Offer(
            run_id=run.run_id,
            site_id=site_id,
            plan_sha256=run.plan_sha256,
            plan_toml=run.plan_toml,
            bundle_sha256=self._bundle_sha256,
        )
        return sign(OFFER_TYPE, offer.to_bytes(), self._coordinator.signing_key).to_bytes()

    def _keep(self, site_id: str, envelope: bytes) -> None:
        # 2.
        statement = self._verified(site_id, envelope)
        self._require_own(statement.site_id, site_id)
        # 3. is part of reading it. 4.
        if isinstance(statement, Decision):
            self._coordinator.consents.decide(statement, envelope=envelope, at=self._clock())
        else:
            self._note(statement, envelope)

    def _verified(self, site_id: str, envelope_bytes: bytes) -> Decision | Notice:
        envelope = Envelope.from_bytes(envelope_bytes)
        key = self._key(site_id, envelope)
        if envelope.payload_type == NOTICE_TYPE:
            return Notice.from_bytes(verify(envelope, NOTICE_TYPE, key))
        stated = StatedDecision.from_bytes(verify(envelope, STATED_DECISION_TYPE, key))
        stated.check_person()
        return stated.decision

    def _key(self, site_id: str, envelope: Envelope) -> VerifyKey:
        keys = self._coordinator.memberships.signing_keys(site_id, announced_at=self._clock())
        return next((each for each in keys if each.key_id == envelope.key_id), keys[0])

    @staticmethod
    def _require_own(spoken_of: str, site_id: str) -> None:
        if spoken_of != site_id:
            raise TrustError("A site's statement speaks of another site.", "Ask the site for its log.")

    def _note(self, notice: Notice, envelope: bytes) -> None:
        now = self._clock()
        self._coordinator.consents.note(notice, envelope=envelope, at=now)
        logger.info("Site %s has %s", notice.site_id, notice.presence.value)
        if notice.presence is Presence.LEFT:
            name = self._coordinator.memberships.get(notice.site_id).name
            self._coordinator.memberships.revoke(name, reason=LEFT, now=now, actor=notice.site_id)
