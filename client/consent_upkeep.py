"""Tending a site's plans in the background, while it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from client.consenting import Consenting
from client.contact import ContactNote
from client.home import SiteHome
from shared.errors import MammofedError, TrustError

log = logging.getLogger(__name__)

TEND_EVERY_S = 2.0


class ConsentUpkeep:
    """Tends a home's plans in the background for as long as the process lives."""

    def __init__(self, home: SiteHome, contact: ContactNote, *, on_refused: Callable[[], None]) -> None:
        self._home = home
        self._contact = contact
        self._on_refused = on_refused

    def start(self) -> None:
        """Tend now, and from then on every `TEND_EVERY_S` seconds."""
        threading.Thread(target=self._keep_up, name="consent", daemon=True).start()

    def _keep_up(self) -> None:
        said = ""
        with Consenting(self._home) as consenting:
            while self._home.has_joined():
                try:
                    consenting.tend()
                    said = ""
                    self._contact.answered("consent")
                except TrustError:
                    self._on_refused()  # whoever looks says what is wrong
                except MammofedError as error:
                    if error.message != said:
                        log.error("%s %s", error.message, error.hint)
                        said = error.message
                    self._contact.troubled("consent", f"{error.message} {error.hint}")
                except Exception:
                    # This thread must not end: no plan would be offered here any more, unnoticed.
                    log.exception("Tending the plans failed")
                time.sleep(TEND_EVERY_S)
