"""What every channel of alerts is, and whose certificates it believes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from server.store.alerts import Notice
from shared.errors import ConfigError


class Channel(Protocol):
    """Takes notices to persons or machines.

    Attributes
    ----------
    most_at_once
        How many notices one message of it tells.
    """

    most_at_once: int

    def send(self, notices: Sequence[Notice], *, now: float) -> None:
        """Send one message about all of them.

        Raises
        ------
        ChannelError
            The other side did not take it.
        ConfigError
            A file that its settings name cannot be used.
        """
        ...


Channels = Mapping[str, Channel]
"""By the name that notices have for it."""


def trusting(folder: Path, ca_file: str | None) -> ssl.SSLContext:
    """Who is believed: the system's authorities, or those of a file; a relative path begins in `folder`.

    Raises
    ------
    ConfigError
        The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(folder / ca_file))
    except OSError as error:
        raise ConfigError(
            "The file with certificates to trust cannot be used.", "Correct `ca_file` of the alerts' channel."
        ) from error
