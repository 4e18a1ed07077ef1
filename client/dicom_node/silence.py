"""Foreign libraries that would write patient data into logs, made mute.

pynetdicom logs identifiers, pydicom names values in log lines and warnings, dicomweb-client and urllib3 log
addresses, which hold UIDs. A process that queries an archive or receives from one calls `silence` first.
"""

from __future__ import annotations

import logging

from pydicom import config
from pynetdicom import _config

TALKATIVE = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3")


def silence() -> None:
    """Nothing of these libraries reaches any handler, at any level."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    config.settings.reading_validation_mode = config.IGNORE
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in TALKATIVE:
            logging.getLogger(name).disabled = True
    # Also for loggers that come later: what they say ends here.
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [logging.NullHandler()]
