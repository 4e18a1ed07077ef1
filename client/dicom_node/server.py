"""The listening side of pynetdicom, with a door: addresses, TLS, silence and size are checked per connection.

pynetdicom's own server shakes hands in the thread that accepts and without a time limit, so that one silent
caller would block all; and it reads whatever length a caller announces. Both are changed here.
"""

from __future__ import annotations

import queue
import socket
import ssl
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from client.dicom_node.reception import SpoolingProvider
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.spool import Spool

MAX_NEGOTIATION_BYTES = 1 << 18
"""Of a request for an association; 128 contexts with all their syntaxes have less."""


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections from listed addresses only; everything after that has its own thread and limit."""

    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: None,
        *,
        evt_handlers: list[Any],
        settings: DicomNodeSettings,
        tls: ssl.SSLContext | None,
        spool: Spool,
    ) -> None:
        self.settings = settings
        self.spool = spool
        self._tls = tls
        super().__init__(
            entity, address, ae_title, contexts, ssl_context, evt_handlers, request_handler=_Door
        )

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; from here on, silence ends the connection."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(self.settings.timeout_s)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether anybody may call from this address."""
        return self.settings.allows_address(client_address[0])

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands if there is TLS, then begin the association."""
        try:
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except (OSError, ValueError):
            self.shutdown_request(request)

    def shutdown(self) -> None:
        """Listen no more, and end what is under way."""
        BaseServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()


class _BoundedSocket(AssociationSocket):
    """Reads no unit of data that is larger than was agreed (PS3.8 D.1)."""

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > max(self.assoc.acceptor.maximum_length or 0, MAX_NEGOTIATION_BYTES):
            raise OSError("a unit of data is larger than agreed")
        return super().recv(nr_bytes)


class _Door(RequestHandler):
    """Makes the association of one connection."""

    server: GuardedServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        # A socket announces itself to the state machine, which must hear of the connection once only.
        association.dul.event_queue = queue.Queue()
        association.dul.socket = _BoundedSocket(association, client_socket=self.request)
        association.dimse = SpoolingProvider(association, self.server.spool, self.server.settings.timeout_s)
        return association
