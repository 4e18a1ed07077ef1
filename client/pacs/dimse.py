"""An archive over DICOM: C-FIND (PS3.4 C, Study Root), and C-GET or C-MOVE instance by instance."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role

from client.dicom_node.contexts import STORAGE_CLASSES, separate_contexts
from client.dicom_node.node import VERIFICATION, DicomNode
from client.dicom_node.reception import OnInstance, ReceivedInstance, spool_handler
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.spool import Spool, disk_full
from client.imaging.mammogram import View
from client.pacs.archive import (
    MAMMOGRAPHY,
    SEGMENTATION,
    FetchReport,
    InstanceFound,
    InstanceRefusedError,
    Query,
    Skip,
    StudyFound,
)
from client.pacs.association import ask, associated, connection_lost
from client.pacs.fetching import MIN_FREE_BYTES, Retrieve, fetch_instances
from client.pacs.matches import instance_of, study_of
from client.pacs.retries import Patience, Retries
from client.pacs.settings import PacsSettings
from client.pacs.spans import date_ranges
from shared.errors import ConfigError, PacsError

STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
STUDY_ROOT_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")

SUCCESS = 0x0000
TOO_MANY = 0xA700
DESTINATION_UNKNOWN = 0xA801
"""Statuses of PS3.4 C.4."""

ARRIVES_WITHIN_S = 5.0
"""After C-MOVE has reported success, for an instance that is on its way on the other association."""


class Receiving(Protocol):
    """Our application entity while it listens."""

    @property
    def disk_refused(self) -> bool:
        """Whether the disk has refused an instance."""
        ...


Listening = Callable[[Spool, OnInstance], contextlib.AbstractContextManager[Receiving]]
"""Has instances that are sent to us handed over, from a spool, for as long as it is entered."""


class DimseArchive:
    """An archive that speaks DICOM; an `Archive`.

    Parameters
    ----------
    node
        Our own application entity, which C-MOVE needs.
    listening
        Hands over what is sent there, where it listens already; else it does while it is needed.

    Raises
    ------
    ConfigError
        Retrieval is by C-MOVE and there is no node.
    """

    def __init__(
        self,
        settings: PacsSettings,
        node: DicomNodeSettings | None = None,
        *,
        listening: Listening | None = None,
        retries: Retries | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        if settings.retrieve == "move" and node is None:
            raise ConfigError(
                "Retrieving with C-MOVE needs a DICOM node of this site.",
                'Add the table [dicom_node], or set retrieve = "get".',
            )
        self._settings = settings
        self._node = node
        self._listening = listening
        self._retries = retries or Retries()
        self._min_free_bytes = min_free_bytes

    def check(self) -> None:
        """C-ECHO."""
        with associated(self._settings, [build_context(VERIFICATION)], VERIFICATION) as association:
            if association.send_c_echo().get("Status") != SUCCESS:
                raise connection_lost()

    def find(self, query: Query) -> list[StudyFound]:
        """See `Archive.find`. Long spans are asked for month by month."""
        patience = Patience(self._retries)
        studies: dict[str, StudyFound] = {}
        spans = deque(date_ranges(query.from_date, query.until_date))

        def ask_for_the_rest() -> None:
            with self._finding() as association:
                while spans:
                    for study in _studies(association, spans[0]):
                        studies[study.study_uid] = study
                    spans.popleft()
                    patience.renew()

        patience.persist(ask_for_the_rest)
        return list(studies.values())

    def fetch(self, study: StudyFound, folder: Path, skip: Skip, *, view: View | None = None) -> FetchReport:
        """See `Archive.fetch`."""
        return fetch_instances(
            self,
            study,
            folder,
            skip,
            view=view,
            retries=self._retries,
            min_free_bytes=self._min_free_bytes,
        )

    def instances(self, study: StudyFound) -> list[InstanceFound]:
        """The study's mammograms and segmentations, from queries at series and image level."""
        found: list[InstanceFound] = []
        with self._finding() as association:
            series = _match(
                association, "SERIES", StudyInstanceUID=study.study_uid, SeriesInstanceUID="", Modality=""
            )
            for one in series:
                modality = str(one.get("Modality", ""))
                if modality not in {MAMMOGRAPHY, SEGMENTATION}:
                    continue
                images = _match(
                    association,
                    "IMAGE",
                    StudyInstanceUID=study.study_uid,
                    SeriesInstanceUID=one.get("SeriesInstanceUID", ""),
                    SOPInstanceUID="",
                    SOPClassUID="",
                    ViewPosition="",
                    NumberOfFrames=None,
                )
                found += [instance_of(image, one, modality) for image in images]
        return found

    @contextlib.contextmanager
    def retrieving(self, study: StudyFound, spool: Spool) -> Iterator[Retrieve]:
        """A connection over which instances come, one request for each."""
        expected = _Expected()
        opened = self._getting if self._settings.retrieve == "get" else self._moving
        with opened(spool, expected) as request:

            def retrieve(instance: InstanceFound) -> Path:
                expected.begin(instance.sop_uid)
                identifier = Dataset()
                identifier.QueryRetrieveLevel = "IMAGE"
                identifier.StudyInstanceUID = study.study_uid
                identifier.SeriesInstanceUID = instance.series_uid
                identifier.SOPInstanceUID = instance.sop_uid
                request(identifier)
                if expected.disk_refused.is_set():
                    raise disk_full()
                if expected.path is None:
                    raise InstanceRefusedError(
                        "The PACS does not give an image that it lists.", "Ask its administrator why."
                    )
                return expected.path

            yield retrieve

    @contextlib.contextmanager
    def _getting(self, spool: Spool, expected: _Expected) -> Iterator[Request]:
        contexts = [build_context(STUDY_ROOT_GET), *separate_contexts()]
        roles = [build_role(storage, scp_role=True) for storage in STORAGE_CLASSES]
        handler = spool_handler(expected.arrived, expected.disk_refused.set)
        with associated(
            self._settings, contexts, STUDY_ROOT_GET, roles=roles, spool=spool, on_store=handler
        ) as association:

            def request(identifier: Dataset) -> None:
                try:
                    ask(association, lambda: association.send_c_get(identifier, STUDY_ROOT_GET))
                except PacsError:
                    # The last word is missing, but not what was asked for.
                    if expected.path is None:
                        raise

            yield request

    @contextlib.contextmanager
    def _moving(self, spool: Spool, expected: _Expected) -> Iterator[Request]:
        node = self._node
        assert node is not None
        listen = self._listening or (lambda spool, taken: DicomNode(node, spool, taken))
        with (
            listen(spool, expected.arrived) as listening,
            # The spool tells that association of what comes on the other one.
            associated(
                self._settings, [build_context(STUDY_ROOT_MOVE)], STUDY_ROOT_MOVE, spool=spool
            ) as association,
        ):

            def request(identifier: Dataset) -> None:
                status, _ = ask(
                    association,
                    lambda: association.send_c_move(identifier, node.ae_title, STUDY_ROOT_MOVE),
                )
                if status == DESTINATION_UNKNOWN:
                    raise PacsError(
                        "The PACS does not know this site as a place to send to.",
                        "Ask its administrator to enter the ae_title, address and port of [dicom_node].",
                    )
                if status == SUCCESS:
                    expected.wait()
                if listening.disk_refused:
                    expected.disk_refused.set()

            yield request

    @contextlib.contextmanager
    def _finding(self) -> Iterator[Association]:
        with associated(self._settings, [build_context(STUDY_ROOT_FIND)], STUDY_ROOT_FIND) as association:
            yield association


Request = Callable[[Dataset], None]
"""Asks for one instance and returns when the archive has answered."""


class _Expected:
    """The one instance that is asked for now. Arrives in another thread than the one that waits."""

    def __init__(self) -> None:
        self._sop_uid = ""
        self._has_come = threading.Event()
        self.path: Path | None = None
        self.disk_refused = threading.Event()

    def begin(self, sop_uid: str) -> None:
        """Expect this one from now on."""
        self._has_come.clear()
        self.path = None
        self._sop_uid = sop_uid

    def arrived(self, instance: ReceivedInstance) -> None:
        """Take it, or refuse what was not asked for."""
        if instance.sop_instance_uid != self._sop_uid or self.path is not None:
            raise PacsError("The PACS sends an image that was not asked for.", "Ask its administrator why.")
        self.path = instance.path
        self._has_come.set()

    def wait(self) -> None:
        """Until it is here, or too long."""
        self._has_come.wait(ARRIVES_WITHIN_S)


def _studies(association: Association, span: str) -> list[StudyFound]:
    matches = _match(
        association,
        "STUDY",
        StudyInstanceUID="",
        PatientID="",
        StudyDate=span,
        ModalitiesInStudy=MAMMOGRAPHY,
        NumberOfStudyRelatedInstances="",
    )
    return [study for match in matches if (study := study_of(match)) is not None]


def _match(association: Association, level: str, **keys: object) -> list[Dataset]:
    """All matches of a query; raises PacsError."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    status, matches = ask(association, lambda: association.send_c_find(identifier, STUDY_ROOT_FIND))
    if status == TOO_MANY:
        raise PacsError("The PACS finds too much for one query.", "Ask for fewer days at a time.")
    if status != SUCCESS:
        raise PacsError("The PACS refuses the query.", "Ask its administrator whether this site may query.")
    return matches
