"""Alerts by webhook: one signed POST for each notice, as the Standard Webhooks specification has it.

The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` go with the body; the signature is
`v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`. A receiver compares it, refuses what is older
than some minutes, and passes over an id that it has had.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path

import httpx

from server.monitoring.channel import trusting
from server.monitoring.settings import WebhookSettings
from server.monitoring.wording import json_of
from server.store.alerts import Notice
from shared.errors import ChannelError, ConfigError
from shared.files import read_secret_line

TIMEOUT_S = 10.0
PREFIX = "whsec_"
LEAST_KEY_BYTES = 24


class Webhook:
    """Sends notices to one address.

    Parameters
    ----------
    folder
        What paths in the settings are relative to.
    """

    most_at_once = 1

    def __init__(self, settings: WebhookSettings, *, folder: Path, federation: str) -> None:
        self._settings = settings
        self._folder = folder
        self._federation = federation

    def send(self, notices: Sequence[Notice], *, now: float) -> None:
        """Send the one that there is.

        Raises
        ------
        ChannelError
            The receiver did not take it.
        ConfigError
            The file with the key, or the one with certificates, cannot be used.
        """
        (notice,) = notices
        body = json.dumps(json_of(self._federation, notice), ensure_ascii=True).encode()
        key, timestamp = self._key(), str(int(now))
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.notice_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(key, notice.notice_id, timestamp, body),
        }
        verify = trusting(self._folder, self._settings.ca_file)
        try:
            with httpx.Client(
                verify=verify, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False
            ) as client:
                answer = client.post(self._settings.url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise ChannelError(
                "The webhook's receiver does not answer.",
                "Check `url` of [alerts.webhook], and the firewall.",
            ) from error
        if not answer.is_success:
            raise ChannelError(
                f"The webhook's receiver answered with status {answer.status_code}.",
                "Look at the receiver's log.",
            )

    def _key(self) -> bytes:
        line = read_secret_line(
            self._folder / self._settings.secret_file,
            what="the key of the webhook",
            setting="`secret_file` of [alerts.webhook]",
        )
        return key_of(line)


def key_of(line: str) -> bytes:
    """The key of a secret: what follows `whsec_` in base64, or the line itself.

    Raises
    ------
    ConfigError
        It is too short, or not what its prefix says.
    """
    try:
        key = (
            base64.b64decode(line.removeprefix(PREFIX), validate=True)
            if line.startswith(PREFIX)
            else line.encode()
        )
    except binascii.Error:
        key = b""
    if len(key) < LEAST_KEY_BYTES:
        raise ConfigError(
            f"The key of the webhook has fewer than {LEAST_KEY_BYTES} bytes.",
            "Write one that was drawn: `openssl rand -hex 32`.",
        )
    return key


def sign(key: bytes, notice_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a message."""
    told = b".".join((notice_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, told, hashlib.sha256).digest()).decode()
