"""Objects on their way to the archive: each stays until it is stored there, or its model is revoked."""

from __future__ import annotations

import logging
from pathlib import Path

from client.pacs.sending import send
from client.pacs.settings import PacsSettings
from client.published import require_not_revoked
from client.store.clinic import ClinicQueue, WaitingObject
from client.store.models import Models
from shared.errors import ModelRevokedError
from shared.files import make_private_folder, write_file

log = logging.getLogger(__name__)

MOST_AT_ONCE = 100
FIRST_DELAY_S, LONGEST_DELAY_S = 60.0, 3600.0
"""Before an object is tried again that the archive has refused."""


class Outbox:
    """The objects of one node."""

    def __init__(self, folder: Path, queue: ClinicQueue, models: Models) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._queue = queue
        self._models = models

    def put(self, name: str, content: bytes) -> None:
        """Keep an object; it is sent once the queue has it. Raises StoreError."""
        write_file(self.path(name), content)

    def path(self, name: str) -> Path:
        """Where an object is."""
        return self._folder / f"{name}.dcm"

    def send_due(self, pacs: PacsSettings, *, now: float) -> int:
        """Send what is due; how many objects the archive has stored.

        Raises
        ------
        PacsError, ConfigError
            See `client.pacs.sending.send`; what was not answered for waits on.
        """
        due = {self.path(one.file): one for one in self._queue.due(now=now, most=MOST_AT_ONCE)}
        wanted = [path for path, one in due.items() if self._is_wanted(path, one)]
        num_stored = 0

        def answered(path: Path, is_stored: bool) -> None:
            nonlocal num_stored
            one = due[path]
            if is_stored:
                self._queue.settle(one)
                path.unlink(missing_ok=True)
                num_stored += 1
                return
            delay_s = min(FIRST_DELAY_S * 2**one.refusals, LONGEST_DELAY_S)
            log.error("The archive refuses an object; it is tried again in %.0f s", delay_s)
            self._queue.put_off(one, until=now + delay_s)

        if wanted:
            send(pacs, wanted, answered)
        return num_stored

    def _is_wanted(self, path: Path, one: WaitingObject) -> bool:
        """Whether an object is to be sent still; else it is gone."""
        try:
            require_not_revoked(self._models, one.manifest_sha256)
        except ModelRevokedError as error:
            log.error("A result is not sent: %s", error.message)
        else:
            if path.exists():
                return True
            log.error("An object that was to be sent is missing on the disk")
        self._queue.settle(one)
        path.unlink(missing_ok=True)
        return False
