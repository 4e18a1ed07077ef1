"""Alerts by e-mail: one message holds all notices that are due (RFC 5322, RFC 3207)."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from server.monitoring.channel import trusting
from server.monitoring.settings import MailSettings
from server.monitoring.wording import body_of, subject_of
from server.store.alerts import Notice
from shared.errors import ChannelError
from shared.files import read_secret_line

TIMEOUT_S = 15.0


class Mail:
    """Sends mail by a mail server.

    Parameters
    ----------
    folder
        What paths in the settings are relative to.
    console
        Address of the console, if there is one.
    """

    most_at_once = 100

    def __init__(self, settings: MailSettings, *, folder: Path, federation: str, console: str | None) -> None:
        self._settings = settings
        self._folder = folder
        self._federation = federation
        self._console = console

    def send(self, notices: Sequence[Notice], *, now: float) -> None:
        """Send one message about all of them.

        Raises
        ------
        ChannelError
            The mail server did not take it.
        ConfigError
            The file with the password, or the one with certificates, cannot be used.
        """
        message = EmailMessage()
        message["Subject"] = subject_of(self._federation, notices)
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.recipients)
        message["Date"] = format_datetime(datetime.fromtimestamp(now, tz=UTC))
        message["Message-ID"] = _message_id(self._settings.sender, self._federation, notices)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body_of(self._federation, notices, self._console))
        with self._telling(), self._server() as server:
            server.send_message(message)

    @contextlib.contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        settings = self._settings
        if settings.security == "tls":
            connected: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host,
                settings.port,
                timeout=TIMEOUT_S,
                context=trusting(self._folder, settings.ca_file),
            )
        else:
            connected = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
        with connected as server:
            if settings.security == "starttls":
                server.starttls(context=trusting(self._folder, settings.ca_file))
            if settings.user is not None and settings.password_file is not None:
                password = read_secret_line(
                    self._folder / settings.password_file,
                    what="the password of the mail server",
                    setting="`password_file` of [alerts.mail]",
                )
                server.login(settings.user, password)
            yield server

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """What went wrong, without anything that the server said: it may quote addresses and credentials."""
        try:
            yield
        except smtplib.SMTPAuthenticationError as error:
            raise ChannelError(
                "The mail server refuses the sign-in.", "Correct user and password."
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise ChannelError(
                "The mail server does not offer what the settings ask for.",
                "Check `security` and `user` of [alerts.mail].",
            ) from error
        except smtplib.SMTPRecipientsRefused as error:
            raise ChannelError(
                "The mail server takes none of the recipients.", "Correct `recipients`."
            ) from error
        except smtplib.SMTPException as error:
            raise ChannelError(
                "The mail server did not take the message.", "Look at the mail server's log."
            ) from error
        except ssl.SSLError as error:
            raise ChannelError(
                "No encrypted connection to the mail server came about.",
                "Check `security`, its certificate, and `ca_file` if it has an authority of its own.",
            ) from error
        except OSError as error:
            raise ChannelError(
                "The mail server cannot be reached.",
                "Check `host` and `port` of [alerts.mail], and the firewall.",
            ) from error


def _message_id(sender: str, federation: str, notices: Sequence[Notice]) -> str:
    """The same for the same message, so that mail servers drop one that comes twice."""
    told = "\n".join([federation, *(f"{each.notice_id} {each.alert.raised_at}" for each in notices)])
    return f"<{hashlib.sha256(told.encode()).hexdigest()[:32]}@{sender.rpartition('@')[2]}>"
