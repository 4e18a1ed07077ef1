"""Storing objects in an archive over DICOM: C-STORE (PS3.4 B), one association for all that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context

from client.pacs.association import associated, connection_lost
from client.pacs.settings import PacsSettings

SENT_CLASSES = (SegmentationStorage, SecondaryCaptureImageStorage, ComprehensiveSRStorage)
SUCCESS = 0x0000
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
"""Stored, although an element was coerced or dropped (PS3.4 B.2.3)."""


def send(settings: PacsSettings, files: Iterable[Path], on_answer: Callable[[Path, bool], None]) -> None:
    """Store files of `SENT_CLASSES`, in their order.

    Parameters
    ----------
    on_answer
        Told of each file as soon as the archive has answered, and whether it is stored there.

    Raises
    ------
    ConnectionLostError
        The archive does not answer, or falls silent; what it has answered for is done.
    PacsError
        It refuses us for good.
    ConfigError
        The TLS files cannot be used.
    """
    contexts = [
        build_context(each, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for each in SENT_CLASSES
    ]
    with associated(settings, contexts, ComprehensiveSRStorage) as association:
        accepted = {one.abstract_syntax for one in association.accepted_contexts}
        for file in files:
            dataset = dcmread(file)
            if dataset.SOPClassUID not in accepted:
                on_answer(file, False)
                continue
            try:
                status = association.send_c_store(dataset).get("Status")
            except RuntimeError as error:  # pynetdicom's word for an association that has ended
                raise connection_lost() from error
            if status is None:
                raise connection_lost()
            on_answer(file, status == SUCCESS or status in WARNINGS)
