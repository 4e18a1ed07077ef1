"""The connection on which a site speaks with the coordinator about plans; made anew when its keys are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from client.enrolment import Membership
from client.home import SiteHome
from client.standing import revoked_error
from shared.consent import consent_pb2_grpc
from shared.errors import MammofedError, TrustError, UnreachableError
from shared.transfer.rpc import REVOKED, open_channel
from shared.trust.keys import TlsKey
from shared.trust.tls import mutual_channel_credentials


class ConsentChannel:
    """Of one home. Close when done."""

    def __init__(self, home: SiteHome) -> None:
        self._home = home
        self._open: tuple[Membership, grpc.Channel] | None = None

    @contextlib.contextmanager
    def calling(self, membership: Membership) -> Iterator[consent_pb2_grpc.ConsentStub]:
        """A stub under this membership.

        Raises
        ------
        UnreachableError
            The coordinator does not answer.
        TrustError
            It does not accept this site.
        """
        if self._open is None or self._open[0] != membership:
            self.close()
            credentials = mutual_channel_credentials(
                root_pem=membership.anchors.bundle_pem,
                certificate_pem=membership.certificate_pem,
                key=TlsKey.load(self._home.keys(membership.key_generation).tls),
            )
            channel = open_channel(membership.transfer_address, credentials, self._home.proxy())
            self._open = (membership, channel)
        try:
            yield consent_pb2_grpc.ConsentStub(self._open[1])  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            raise _as_error(error) from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _as_error(error: grpc.RpcError) -> MammofedError:
    if error.code() is grpc.StatusCode.PERMISSION_DENIED and error.details() == REVOKED:
        return revoked_error()
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return TrustError(
            "The coordinator does not accept this site's certificate.",
            "If a copy of this home is running elsewhere, stop it and tell the coordinator; else join anew.",
        )
    return UnreachableError(
        "The coordinator does not answer.", "Check the network and that the coordinator is running."
    )
