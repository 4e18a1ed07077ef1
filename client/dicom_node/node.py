"""Our DICOM application entity: answers C-ECHO, receives by C-STORE, and lets in nobody who is not listed."""

from __future__ import annotations

import errno
import threading
from types import TracebackType

from pydicom.uid import UID
from pynetdicom import AE, evt

from client.dicom_node.contexts import STORAGE_CLASSES, TRANSFER_SYNTAXES
from client.dicom_node.reception import OnInstance, drop_the_unfinished, spool_handler
from client.dicom_node.server import GuardedServer
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.silence import silence
from client.dicom_node.spool import Spool
from client.dicom_node.tls import server_context
from shared.errors import ConfigError

REJECTED_PERMANENT, BY_USER, CALLING_TITLE_UNKNOWN = 0x01, 0x01, 0x03
"""Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
VERIFICATION = UID("1.2.840.10008.1.1")
_POLL_S = 0.1


class DicomNode:
    """Receives for as long as it is entered as a context manager.

    Parameters
    ----------
    settings
        Who may call, from where, and what is too much.
    spool
        Where instances arrive.
    on_instance
        What is done with each; see `OnInstance`. Called from the thread of the association.
    """

    def __init__(self, settings: DicomNodeSettings, spool: Spool, on_instance: OnInstance) -> None:
        self._settings = settings
        self._spool = spool
        self._on_instance = on_instance
        self._disk_refused = threading.Event()
        self._server: GuardedServer | None = None

    @property
    def disk_refused(self) -> bool:
        """Whether the disk has refused an instance since the node was made."""
        return self._disk_refused.is_set()

    def __enter__(self) -> DicomNode:
        """Listen.

        Raises
        ------
        ConfigError
            The address or port cannot be listened at, or the TLS files cannot be used.
        """
        silence()
        settings = self._settings
        tls = None if settings.tls is None else server_context(settings.tls)
        try:
            server = self._entity().make_server(
                (settings.address, settings.port),
                evt_handlers=[
                    (evt.EVT_REQUESTED, self._check_caller),
                    (evt.EVT_CONN_CLOSE, drop_the_unfinished),
                    (evt.EVT_C_STORE, spool_handler(self._on_instance, self._disk_refused.set)),
                ],
                server_class=GuardedServer,
                settings=settings,
                tls=tls,
                spool=self._spool,
            )
        except OSError as error:
            raise _cannot_listen(error) from error
        assert isinstance(server, GuardedServer)
        threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="dicom-node", daemon=True).start()
        self._server = server
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server = None

    def _entity(self) -> AE:
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.acse_timeout = settings.timeout_s
        entity.network_timeout = settings.timeout_s
        entity.add_supported_context(VERIFICATION)
        for storage in STORAGE_CLASSES:
            entity.add_supported_context(storage, list(TRANSFER_SYNTAXES))
        return entity

    def _check_caller(self, event: evt.Event) -> None:
        """Title and address belong together: a listed title from another one's address is refused."""
        caller = event.assoc.requestor
        assert caller.primitive is not None
        if not self._settings.allows(caller.primitive.calling_ae_title, caller.address):
            event.assoc.acse.send_reject(REJECTED_PERMANENT, BY_USER, CALLING_TITLE_UNKNOWN)
            event.assoc.kill()


def _cannot_listen(error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            "The DICOM node's port is in use.", "Choose another port, or stop the program that uses it."
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            "The DICOM node may not listen at this port.", "Choose a port above 1023, such as 11112."
        )
    return ConfigError(
        "The DICOM node cannot listen at its address.", "Give an address of this computer in [dicom_node]."
    )
