"""An archive over DICOMweb: QIDO-RS to search, WADO-RS to retrieve instance by instance (PS3.18 10)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from client.dicom_node.silence import silence
from client.dicom_node.spool import Arrival, Spool, disk_full
from client.imaging.mammogram import View
from client.intake.dicom_file import is_dicom
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
from client.pacs.fetching import MIN_FREE_BYTES, Retrieve, fetch_instances
from client.pacs.http import BUSY, NO_ACCESS, explained, open_session
from client.pacs.matches import instance_of, study_of, uid_of
from client.pacs.multipart import pass_on_part
from client.pacs.retries import Patience, Retries
from client.pacs.settings import DicomWebSettings
from client.pacs.spans import date_ranges

CONNECT_S = 10.0
CHUNK_BYTES = 1 << 18
ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As it is stored: PS3.18 8.7.3.5.2 lets the archive convert unless it is told so."""
Match = dict[str, Any]


class DicomWebArchive:
    """An archive that speaks DICOMweb; an `Archive`.

    Raises
    ------
    ConfigError
        The file of a password, token or authority cannot be read.
    """

    def __init__(
        self,
        settings: DicomWebSettings,
        *,
        retries: Retries | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> None:
        silence()
        self._settings = settings
        self._retries = retries or Retries()
        self._min_free_bytes = min_free_bytes
        self._timeout = (CONNECT_S, float(settings.timeout_s))
        self._session = open_session(settings)
        self._client = DICOMwebClient(settings.url, session=self._session, timeout=self._timeout)
        self._client.set_http_retry_params(retry=False)

    def check(self) -> None:
        """Search for one study."""
        with explained():
            self._client.search_for_studies(limit=1)

    def find(self, query: Query) -> list[StudyFound]:
        """See `Archive.find`. Long spans are asked for month by month."""
        patience = Patience(self._retries)
        studies: dict[str, StudyFound] = {}
        for span in date_ranges(query.from_date, query.until_date):
            search = partial(
                self._client.search_for_studies,
                search_filters={"ModalitiesInStudy": MAMMOGRAPHY} | ({"StudyDate": span} if span else {}),
                fields=["PatientID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"],
            )
            for match in patience.persist(partial(_all, search, "StudyInstanceUID")):
                study = study_of(match)
                if study is not None:
                    studies[study.study_uid] = study
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
        """The study's mammograms and segmentations, from searches for series and for their instances."""
        found: list[InstanceFound] = []
        series = _all(
            partial(self._client.search_for_series, study.study_uid, fields=["Modality"]), "SeriesInstanceUID"
        )
        for one in series:
            modality = str(one.get("Modality", ""))
            if modality not in {MAMMOGRAPHY, SEGMENTATION}:
                continue
            search = partial(
                self._client.search_for_instances,
                study.study_uid,
                uid_of(one, "SeriesInstanceUID"),
                fields=["SOPClassUID", "ViewPosition", "NumberOfFrames"],
            )
            found += [instance_of(match, one, modality) for match in _all(search, "SOPInstanceUID")]
        return found

    @contextlib.contextmanager
    def retrieving(self, study: StudyFound, spool: Spool) -> Iterator[Retrieve]:
        """HTTP keeps its connection by itself."""
        yield partial(self._retrieve, study, spool)

    def _retrieve(self, study: StudyFound, spool: Spool, instance: InstanceFound) -> Path:
        address = (
            f"{self._settings.url}/studies/{study.study_uid}/series/{instance.series_uid}"
            f"/instances/{instance.sop_uid}"
        )
        with explained():
            answer = self._session.get(
                address, headers={"Accept": ACCEPT}, stream=True, timeout=self._timeout
            )
            with answer:
                if 400 <= answer.status_code < 500 and answer.status_code not in NO_ACCESS | BUSY:
                    raise _refused()
                answer.raise_for_status()
                path = _save(answer, spool)
        if not is_dicom(path):
            path.unlink()
            raise _refused()
        return path


def _save(answer: requests.Response, spool: Spool) -> Path:
    try:
        arrival = spool.open()
    except OSError as error:
        raise disk_full() from error
    try:
        _pass_on(answer, arrival)
        try:
            return arrival.commit()
        except OSError as error:
            raise disk_full() from error
    finally:
        arrival.discard()


def _pass_on(answer: requests.Response, arrival: Arrival) -> None:
    def write(data: bytes) -> None:
        # Apart from the errors of the line, which are OSErrors as well.
        try:
            arrival.write(data)
        except OSError as error:
            raise disk_full() from error

    header = Message()
    header["Content-Type"] = answer.headers.get("Content-Type", "")
    chunks = answer.iter_content(CHUNK_BYTES)
    if header.get_content_type() == "application/dicom":  # against PS3.18 10.4.3, but not rare
        for chunk in chunks:
            write(chunk)
        return
    boundary = header.get_boundary()
    if boundary is None:
        raise _refused()
    pass_on_part(chunks, boundary, write)


def _all(search: Callable[..., list[Match]], keyword: str) -> list[Dataset]:
    """All matches of a search, though the archive may give a part at a time, or ignore where to begin.

    No limit is asked for: Orthanc 1.10 applies one before it looks at the modalities, and loses matches.

    Raises
    ------
    PacsError
        Of any kind that `Archive` names.
    """
    found: dict[str, Dataset] = {}
    while True:
        with explained():
            page = [Dataset.from_json(match) for match in search(offset=len(found))]
        new = {uid: match for match in page if (uid := uid_of(match, keyword)) not in found}
        if not new:
            return list(found.values())
        found.update(new)


def _refused() -> InstanceRefusedError:
    return InstanceRefusedError(
        "The archive does not give an image that it lists.", "Ask its administrator why."
    )
