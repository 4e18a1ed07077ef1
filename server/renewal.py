"""Renewal at the coordinator: a site that is a member gets a new certificate, and new keys if it wants them.

Checks of a request, in this order:

1. the caller's certificate names a site that is active, and is one that it has now;
2. the protocol version, the signing request and the keys can be read;
3. the site holds the private half of each key (the signing request proves its own);
4. the signing key that goes with the presented certificate has signed the whole; only then are certificate
   and keys recorded, in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version

import grpc

from server.enrolment import CoordinatorIdentity
from server.store import Federation
from server.store.memberships import Memberships, RenewedKeys
from shared.enrolment import renewal_pb2, renewal_pb2_grpc
from shared.enrolment.refusal import Refusal
from shared.enrolment.statement import PROTOCOL_VERSION, renewal_statement
from shared.errors import TrustError
from shared.transfer.rpc import REVOKED, RefusedCallError, answering, calling_site
from shared.trust.keys import NodePublicKey, VerifyKey
from shared.trust.signing_request import check_csr

logger = logging.getLogger(__name__)

_MAX_VERSION_LENGTH = 32


class RenewalService(renewal_pb2_grpc.RenewalServicer):
    """Answers member sites.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    is_clock_right
        While it is not, no certificate is issued: a site could not use it once the clock is mended.
    on_renewed
        Called with the site id after a renewal is recorded, and again whenever it is asked for again; if it
        raises, the site is told to try later and what is recorded stays.
    """

    def __init__(
        self,
        *,
        coordinator: CoordinatorIdentity,
        federation: Federation,
        memberships: Memberships,
        clock: Callable[[], float],
        is_clock_right: Callable[[], bool],
        on_renewed: Callable[[str], None],
    ) -> None:
        self._coordinator = coordinator
        self._federation = federation
        self._memberships = memberships
        self._clock = clock
        self._is_clock_right = is_clock_right
        self._on_renewed = on_renewed

    def add_to(self, server: grpc.Server) -> None:
        """Answer on this server, whose listener must ask for certificates."""
        renewal_pb2_grpc.add_RenewalServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def Standing(  # noqa: N802 - named by the protocol
        self, request: renewal_pb2.StandingRequest, context: grpc.ServicerContext
    ) -> renewal_pb2.StandingReply:
        """Answer a member; refuse a site that is none any more."""
        with answering(context):
            self._member(context)
            return renewal_pb2.StandingReply(
                server_time=self._clock(),
                statements=self._coordinator.statements,
                software_version=version("mammofed"),
            )
        raise AssertionError("answering has ended the call")

    def Renew(  # noqa: N802 - named by the protocol
        self, request: renewal_pb2.RenewRequest, context: grpc.ServicerContext
    ) -> renewal_pb2.RenewReply:
        """Renew, or refuse with a reason word."""
        with answering(context):
            site_id, presented_pem = self._member(context)
            if not self._is_clock_right():
                raise RefusedCallError(grpc.StatusCode.UNAVAILABLE, "clock")
            keys = _read_keys(request)
            certificate_pem = self._renew(site_id, presented_pem, keys, request)
            self._on_renewed(site_id)
            logger.info("Site %s renewed its certificate", site_id)
            return renewal_pb2.RenewReply(
                certificate_pem=certificate_pem, statements=self._coordinator.statements
            )
        raise AssertionError("answering has ended the call")

    def _member(self, context: grpc.ServicerContext) -> tuple[str, bytes]:
        # 1.
        site_id, certificate_pem = calling_site(context)
        if not self._federation.is_active(site_id):
            raise RefusedCallError(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
        if not self._memberships.accepts(site_id, certificate_pem):
            raise RefusedCallError(grpc.StatusCode.UNAUTHENTICATED, "certificate")
        return site_id, certificate_pem

    def _renew(
        self, site_id: str, presented_pem: bytes, keys: RenewedKeys, request: renewal_pb2.RenewRequest
    ) -> bytes:
        statement = renewal_statement(request, site_id=site_id)
        now = self._clock()
        try:
            # 3.
            keys.signing_key.verify(request.signing_key_proof, statement)
            keys.node_key.verify(request.node_key_proof, statement)
            # 4.
            return self._memberships.renew(
                site_id,
                presented_pem=presented_pem,
                keys=keys,
                check=lambda signing_key: signing_key.verify(request.signature, statement),
                issue=lambda: self._coordinator.issue(keys.csr_pem, site_id, now=now),
                now=now,
            )
        except TrustError as error:
            logger.warning("Site %s did not prove its keys for a renewal", site_id)
            raise _refused(Refusal.NO_POSSESSION) from error


def _read_keys(request: renewal_pb2.RenewRequest) -> RenewedKeys:
    # 2.
    if request.protocol_version != PROTOCOL_VERSION:
        raise _refused(Refusal.PROTOCOL)
    try:
        check_csr(request.csr_pem)
        keys = RenewedKeys(
            csr_pem=request.csr_pem,
            signing_key=VerifyKey(request.signing_public_key),
            node_key=NodePublicKey(request.node_public_key),
            software_version=request.software_version,
        )
    except TrustError as error:
        raise _refused(Refusal.MALFORMED) from error
    if len(keys.software_version) > _MAX_VERSION_LENGTH or not keys.software_version.isprintable():
        raise _refused(Refusal.MALFORMED)
    return keys


def _refused(reason: Refusal) -> RefusedCallError:
    return RefusedCallError(grpc.StatusCode.FAILED_PRECONDITION, reason.value)
