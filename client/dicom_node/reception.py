"""Instances go to disk as they arrive, for either side of an association.

pynetdicom keeps a message in memory until it is whole, or writes it to a temporary folder of its own choice,
where a full disk ends the association. Here the message's data set is given another place to be written to:
an instance runs into the spool, and what the disk refuses is read to its end and thrown away, so that the
peer gets a proper answer and may go on. Everything else that a peer may send is small, and is kept small.
"""

from __future__ import annotations

import io
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta
from pynetdicom.events import Event

from client.dicom_node.spool import Arrival, Spool, disk_full
from shared.errors import MammofedError, StoreError

MAX_MEMORY_BYTES = 1 << 20
"""Of a command or an identifier; a match of a query has less than a hundredth."""

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
"""Statuses of C-STORE (PS3.4 B.2.3)."""

INVALID_PDU = "Evt19"
"""Event of the state machine (PS3.8 9.2.2) that aborts the association."""

_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedInstance:
    """An instance that has arrived whole. Identifiers are left out of its printed form.

    Attributes
    ----------
    path
        In the spool; whoever is given the instance owns the file.
    sop_class_uid, sop_instance_uid
        As the peer announced them.
    ae_title
        Of the peer.
    """

    path: Path = field(repr=False)
    sop_class_uid: str
    sop_instance_uid: str = field(repr=False)
    ae_title: str


OnInstance = Callable[[ReceivedInstance], None]
"""Called for each instance, one at a time within an association; a MammofedError refuses the instance."""


class SpoolingProvider(DIMSEServiceProvider):
    """The DIMSE layer of one association, with instances on disk.

    Parameters
    ----------
    spool
        Where instances go, on this association or on another that belongs to it; without one, none is taken.
    stalled_s
        An answer is waited for until so long nothing has come at all; a slow line is no reason to give up.
    """

    def __init__(self, association: Association, spool: Spool | None, stalled_s: float) -> None:
        super().__init__(association)
        self._spool = spool
        self._stalled_s = stalled_s
        self._heard_at = time.monotonic()
        self._arriving: IncomingDataSet | None = None

    def receive_primitive(self, primitive: Any) -> None:
        """Take a piece of a message. Called in the thread that reads the socket."""
        self._heard_at = time.monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.encoded_command_set = _SmallBuffer()
            self.message.data_set = IncomingDataSet(self.message, self)
        try:
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001 - whatever a peer's bytes provoke must end its association, not this thread
            self.discard()
            self.dul.event_queue.put(INVALID_PDU)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The next whole message, or (None, None) when the peer is gone or silent."""
        if not block:
            return super().get_msg(block=False)
        self._heard_at = time.monotonic()
        while time.monotonic() - self._last_heard_at() < self._stalled_s:
            try:
                return self.msg_queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        return None, None

    def _last_heard_at(self) -> float:
        return self._heard_at if self._spool is None else max(self._heard_at, self._spool.written_at)

    def begin(self, data_set: IncomingDataSet, message: DIMSEMessage) -> Arrival:
        """Open the file of an instance and write its head (PS3.10 7.1).

        Raises
        ------
        OSError
            The disk refuses.
        RuntimeError
            The peer sends instances where none is due.
        """
        waiting = self._arriving is not None and not self._arriving.is_over
        if self._spool is None or waiting:
            raise RuntimeError("an instance arrives out of turn")
        self._arriving = data_set
        syntaxes = {one.context_id: one.transfer_syntax[0] for one in self.assoc.accepted_contexts}
        head = DicomBytesIO()
        head.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(
            head,
            create_file_meta(
                sop_class_uid=UID(message.command_set.AffectedSOPClassUID),
                sop_instance_uid=UID(message.command_set.AffectedSOPInstanceUID),
                transfer_syntax=syntaxes[message.context_id],
            ),
        )
        arrival = self._spool.open()
        try:
            arrival.write(head.getvalue())
        except OSError:
            arrival.discard()
            raise
        return arrival

    def discard(self) -> None:
        """Delete the file of an instance that is not whole yet."""
        if self._arriving is not None:
            self._arriving.discard()


class _SmallBuffer(io.BytesIO):
    """A buffer that ends the association of a peer who overfills it."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MAX_MEMORY_BYTES:
            raise RuntimeError("a peer sends more than any command or identifier holds")
        return super().write(data)


class IncomingDataSet(_SmallBuffer):
    """The data set of one message: in the spool if it is an instance, else in memory."""

    def __init__(self, message: DIMSEMessage, provider: SpoolingProvider) -> None:
        super().__init__()
        self._message = message
        self._provider = provider
        self._arrival: Arrival | None = None
        self._refused = False
        self.is_over = False

    def write(self, data: Any) -> int:
        """Append a fragment. An instance that the disk refuses is swallowed to its end."""
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(data)
        if self._refused:
            return len(data)
        try:
            if self._arrival is None:
                self._arrival = self._provider.begin(self, self._message)
            self._arrival.write(data)
        except OSError:
            self._refused = True
            self.discard()
        return len(data)

    def commit(self) -> Path | None:
        """The whole instance's file, or None if there was no data.

        Raises
        ------
        StoreError
            The disk has refused.
        """
        self.is_over = True
        if self._refused:
            raise disk_full()
        try:
            return None if self._arrival is None else self._arrival.commit()
        except OSError as error:
            self.discard()
            raise disk_full() from error

    def discard(self) -> None:
        """Delete the file unless it is whole."""
        self.is_over = True
        if self._arrival is not None:
            self._arrival.discard()


def spool_handler(on_instance: OnInstance, on_refused: Callable[[], None]) -> Callable[[Event], int]:
    """A handler of C-STORE that hands each instance over and gives the status that the peer is told.

    Parameters
    ----------
    on_refused
        Told when the disk has refused an instance.
    """

    def store(event: Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        assert isinstance(request.DataSet, IncomingDataSet)
        try:
            path = request.DataSet.commit()
            if path is None:
                return CANNOT_UNDERSTAND
        except StoreError:
            on_refused()
            return OUT_OF_RESOURCES
        received = ReceivedInstance(
            path=path,
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            ae_title=_peer_title(event.assoc),
        )
        try:
            on_instance(received)
        except MammofedError as error:
            path.unlink(missing_ok=True)
            return OUT_OF_RESOURCES if isinstance(error, StoreError) else CANNOT_UNDERSTAND
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return SUCCESS

    return store


def drop_the_unfinished(event: Event) -> None:
    """Handler of the end of a connection: no part of an instance stays."""
    provider = event.assoc.dimse
    if isinstance(provider, SpoolingProvider):  # else there was no connection yet
        provider.discard()


def _peer_title(association: Association) -> str:
    peer = association.requestor if association.is_acceptor else association.acceptor
    return str(peer.ae_title).strip()
