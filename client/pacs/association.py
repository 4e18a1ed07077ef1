"""Calling an archive over DICOM: associations with a time limit, and refusals in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from client.dicom_node.reception import SpoolingProvider, drop_the_unfinished
from client.dicom_node.silence import silence
from client.dicom_node.spool import Spool
from client.dicom_node.tls import client_context
from client.pacs.archive import ConnectionLostError
from client.pacs.settings import PacsSettings
from shared.errors import PacsError

MAX_PDU_BYTES = 1 << 15
"""Larger ones are no faster, and the smaller they are the sooner a slow line shows that it lives."""
CONNECT_S = 10.0
PENDING = frozenset({0xFF00, 0xFF01})
TRANSIENT = 0x02
"""Result of a rejection (PS3.8 9.3.4) that another attempt may cure."""
CALLED_TITLE, CALLING_TITLE = (0x01, 0x07), (0x01, 0x03)
"""Source and diagnostic of the two rejections that a person can mend."""


@contextlib.contextmanager
def associated(
    settings: PacsSettings,
    contexts: Sequence[PresentationContext],
    service: UID,
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    spool: Spool | None = None,
    on_store: Callable[[evt.Event], int] | None = None,
) -> Iterator[Association]:
    """An association with the archive, released at the end and aborted after an error.

    Parameters
    ----------
    service
        SOP class without which the association is of no use.
    spool, on_store
        Where instances go that come on this association, and what is done with them.

    Raises
    ------
    ConnectionLostError
        The archive does not answer, or has no room now.
    PacsError
        It refuses us for good, or does not offer the service.
    ConfigError
        The TLS files cannot be used.
    """
    silence()
    entity = AE(ae_title=settings.calling_ae_title)
    entity.connection_timeout = CONNECT_S
    entity.acse_timeout = settings.timeout_s
    entity.network_timeout = settings.timeout_s
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, _adopt, [spool, settings.timeout_s]),
        (evt.EVT_CONN_CLOSE, drop_the_unfinished),
    ]
    if on_store is not None:
        handlers.append((evt.EVT_C_STORE, on_store))
    tls = None if settings.tls is None else (client_context(settings.tls), settings.host)
    try:
        association = entity.associate(
            settings.host,
            settings.port,
            contexts=list(contexts),
            ae_title=settings.ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles),
            tls_args=tls,
            evt_handlers=handlers,
        )
    except OSError as error:  # the host has no address
        raise _no_answer(settings) from error
    if not association.is_established:
        raise _refused(association, settings, service)
    try:
        if not any(one.abstract_syntax == service for one in association.accepted_contexts):
            raise _not_offered(service)
        yield association
        if association.is_established:
            association.release()
    finally:
        if association.is_established:
            association.abort()


def ask(association: Association, send: Callable[[], Iterator[tuple[Dataset, Dataset | None]]]) -> Answers:
    """Send a request that has several answers, and collect them.

    Raises
    ------
    ConnectionLostError
        The archive fell silent before the last answer.
    """
    matches: list[Dataset] = []
    status: int | None = None
    try:
        for answer, match in send():
            status = answer.get("Status")
            if match is not None and status in PENDING:
                matches.append(match)
    except RuntimeError as error:  # pynetdicom's word for an association that has ended
        raise connection_lost() from error
    if status is None or status in PENDING:
        raise connection_lost()
    return status, matches


Answers = tuple[int, list[Dataset]]
"""The last status, and the matches before it."""


def connection_lost() -> ConnectionLostError:
    """The error for a line that breaks in the middle."""
    return ConnectionLostError(
        "The connection to the PACS keeps breaking.",
        "Check the network and the PACS, then start again: what has arrived is not fetched twice.",
    )


def _adopt(event: evt.Event, spool: Spool | None, timeout_s: float) -> None:
    """Before the first byte: instances go to disk, and a unit of data that stops half-way ends the wait."""
    event.assoc.dimse = SpoolingProvider(event.assoc, spool, timeout_s)
    wrapper = event.assoc.dul.socket
    assert wrapper is not None
    assert wrapper.socket is not None
    wrapper.socket.settimeout(timeout_s)


def _refused(association: Association, settings: PacsSettings, service: UID) -> PacsError:
    rejection = association.acceptor.primitive
    if rejection is None:
        return _no_answer(settings)
    if not association.is_rejected:  # accepted, but none of what was proposed
        return _not_offered(service)
    why = (rejection.result_source, rejection.diagnostic)
    if rejection.result == TRANSIENT:
        return ConnectionLostError(
            "The PACS accepts no more connections now.", "Try again later, or ask its administrator."
        )
    if why == CALLED_TITLE:
        return PacsError("The PACS has another AE title.", "Correct ae_title in its settings.")
    if why == CALLING_TITLE:
        return PacsError(
            "The PACS does not know this site's AE title.",
            "Ask its administrator to enter calling_ae_title with this computer's address.",
        )
    return PacsError("The PACS refuses to talk to this site.", "Ask its administrator why.")


def _not_offered(service: UID) -> PacsError:
    return PacsError(
        f"The PACS does not offer this site the service {service.name}.",
        "Ask its administrator to allow it, or choose another way to retrieve in the settings.",
    )


def _no_answer(settings: PacsSettings) -> ConnectionLostError:
    if settings.tls is None:
        return ConnectionLostError(
            "The PACS does not answer.",
            "Check its host and port, the firewall, whether it wants TLS, and that it runs.",
        )
    return ConnectionLostError(
        "The PACS does not answer, or one of the two does not accept the other's certificate.",
        "Check its host and port, that it runs with TLS, and the three TLS files.",
    )
