"""Enrolment at the coordinator: an invitation's secret and new keys in, a certificate out.

Checks of a request, in this order; each failure is a `Refusal` on the wire:

1. the protocol version;
2. secret, signing request and keys can be read;
3. the site holds the private half of each key (the signing request proves its own);
4. the register accepts the invitation, and keeps site and certificate in the same transaction.

Secrets are hashed on arrival, looked up by hash, and never logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc

from shared.enrolment import enrolment_pb2, enrolment_pb2_grpc
from shared.enrolment.refusal import Refusal
from shared.enrolment.statement import PROTOCOL_VERSION, possession_statement
from shared.enrolment.token import Secret, hash_secret
from shared.errors import TokenError, TrustError
from shared.transfer.open_calls import OpenCalls
from shared.transfer.rpc import RefusedCallError, answering, listen, new_server
from shared.trust.anchors import Anchors
from shared.trust.certificates import is_for_key
from shared.trust.fingerprint import fingerprint_of_keys
from shared.trust.issuing import Issuer, new_site_certificate
from shared.trust.keys import NodePublicKey, VerifyKey
from shared.trust.signing_request import check_csr

logger = logging.getLogger(__name__)

_NUM_THREADS = 4
_MAX_VERSION_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteKeys:
    """A joining site's public keys, whose private halves it has proved to hold.

    Attributes
    ----------
    csr_pem
        Signing request of its TLS key (PKCS #10).
    """

    csr_pem: bytes
    signing_key: VerifyKey
    node_key: NodePublicKey
    software_version: str

    @property
    def fingerprint(self) -> str:
        """Of all three keys, as site and coordinator show it to be compared by telephone."""
        return fingerprint_of_keys(
            tls_key=check_csr(self.csr_pem), signing_key=self.signing_key, node_key=self.node_key
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledSite:
    """A site of the federation, as the register keeps it.

    Attributes
    ----------
    enrolled_at
        Seconds since the Unix epoch.
    """

    site_id: str
    site_name: str
    keys: SiteKeys
    certificate_pem: bytes
    enrolled_at: float


class EnrolmentRegister(Protocol):
    """The store's side of an enrolment."""

    def enrol(
        self, *, secret_hash: str, now: float, keys: SiteKeys, issue: Callable[[str], bytes]
    ) -> EnrolledSite | Refusal:
        """Use up an invitation and record its site, in one transaction: both or neither.

        An invitation that was used by a site with the very same signing and node keys is answered with
        that site as it was recorded: its reply was lost on the way. With other keys it is `USED_TOKEN`.
        Where a person must approve, it is `PENDING` until then.

        Parameters
        ----------
        secret_hash
            Of `hash_secret`; the key under which the invitation is kept.
        issue
            Makes the certificate (PEM) for a site id; called within the transaction, at most once.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorIdentity:
    """What every enrolled site learns about the coordinator.

    Attributes
    ----------
    anchors
        What sites believe it by.
    statements
        By which a site follows to these anchors from those that it has: of versions 2, 3, ...
    fleet_address, transfer_address
        `host:port` as sites reach them, under a host of the server's certificate.
    certificate_days
        How long the certificates live that it issues to sites.
    """

    name: str
    anchors: Anchors
    statements: Sequence[bytes] = ()
    fleet_address: str
    transfer_address: str
    certificate_days: int
    issuer: Issuer

    def issue(self, csr_pem: bytes, site_id: str, *, now: float) -> bytes:
        """A site's certificate (PEM). Raises TrustError if the signing request is not usable."""
        return new_site_certificate(
            csr_pem=csr_pem,
            site_id=site_id,
            issuer=self.issuer,
            now=now,
            life=timedelta(days=self.certificate_days),
        )


class EnrolmentService(enrolment_pb2_grpc.EnrolmentServicer):
    """Answers joining sites.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    on_enrolled
        Called after the site is recorded, and again whenever it asks for its certificate again; if it
        raises, the site is told to try later and stays recorded.
    """

    def __init__(
        self,
        *,
        coordinator: CoordinatorIdentity,
        register: EnrolmentRegister,
        clock: Callable[[], float],
        on_enrolled: Callable[[EnrolledSite], None],
    ) -> None:
        self._coordinator = coordinator
        self._register = register
        self._clock = clock
        self._on_enrolled = on_enrolled

    def Enrol(  # noqa: N802 - named by the protocol
        self, request: enrolment_pb2.EnrolRequest, context: grpc.ServicerContext
    ) -> enrolment_pb2.EnrolReply:
        """Enrol a site, or refuse with a reason word."""
        with answering(context):
            enrolled = self._enrol(request)
            if isinstance(enrolled, Refusal):
                # A site that waits for approval asks every few seconds.
                level = logging.DEBUG if enrolled is Refusal.PENDING else logging.WARNING
                logger.log(level, "An enrolment was refused: %s", enrolled)
                raise RefusedCallError(grpc.StatusCode.FAILED_PRECONDITION, enrolled.value)
            self._on_enrolled(enrolled)
            logger.info("Site %s enrolled", enrolled.site_id)
            return self._reply(enrolled)
        raise AssertionError("answering has ended the call")

    def _enrol(self, request: enrolment_pb2.EnrolRequest) -> EnrolledSite | Refusal:
        # 1.
        if request.protocol_version != PROTOCOL_VERSION:
            return Refusal.PROTOCOL
        # 2.
        try:
            secret_hash = hash_secret(Secret(request.secret))
            tls_key = check_csr(request.csr_pem)
            keys = SiteKeys(
                csr_pem=request.csr_pem,
                signing_key=VerifyKey(request.signing_public_key),
                node_key=NodePublicKey(request.node_public_key),
                software_version=request.software_version,
            )
        except (TokenError, TrustError):
            return Refusal.MALFORMED
        if len(keys.software_version) > _MAX_VERSION_LENGTH or not keys.software_version.isprintable():
            return Refusal.MALFORMED
        # 3.
        statement = possession_statement(request)
        try:
            keys.signing_key.verify(request.signing_key_proof, statement)
            keys.node_key.verify(request.node_key_proof, statement)
        except TrustError:
            return Refusal.NO_POSSESSION
        # 4.
        now = self._clock()
        enrolled = self._register.enrol(
            secret_hash=secret_hash,
            now=now,
            keys=keys,
            issue=lambda site_id: self._coordinator.issue(request.csr_pem, site_id, now=now),
        )
        # A certificate that was issued before is of no use to another TLS key.
        if isinstance(enrolled, EnrolledSite) and not is_for_key(enrolled.certificate_pem, tls_key):
            return Refusal.USED_TOKEN
        return enrolled

    def _reply(self, site: EnrolledSite) -> enrolment_pb2.EnrolReply:
        return enrolment_pb2.EnrolReply(
            site_id=site.site_id,
            site_name=site.site_name,
            certificate_pem=site.certificate_pem,
            anchors=self._coordinator.anchors.to_bytes(),
            coordinator_name=self._coordinator.name,
            fleet_address=self._coordinator.fleet_address,
            transfer_address=self._coordinator.transfer_address,
            server_time=self._clock(),
        )


def serve_enrolment(
    service: EnrolmentService, *, host: str, port: int, credentials: grpc.ServerCredentials
) -> tuple[grpc.Server, int]:
    """Listen on one address; returns the server, which its caller stops, and its port.

    Raises
    ------
    ConfigError
        The address cannot be listened on.
    """
    server = new_server(num_threads=_NUM_THREADS, interceptors=[OpenCalls(num_threads=_NUM_THREADS)])
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    return server, listen(server, host, port, credentials)
