"""HTTP to an archive: a session that proves itself and is led nowhere else, and errors in words."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from client.pacs.archive import ConnectionLostError
from client.pacs.multipart import NotMultipartError
from client.pacs.settings import DicomWebSettings
from shared.errors import ConfigError, PacsError

BUSY = frozenset({408, 425, 429})
NO_ACCESS = frozenset({401, 403})


class _Bearer(AuthBase):
    """A token in the header (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def open_session(settings: DicomWebSettings) -> requests.Session:
    """A session that proves itself as the settings say. Raises ConfigError for a file that cannot be read."""
    session = requests.Session()
    # Neither proxies nor passwords of the environment, and no way to lead a query elsewhere.
    session.trust_env = False
    session.max_redirects = 0
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise ConfigError(
                "The file of the archive's certificate authority cannot be used.",
                "Check that ca_file is PEM and readable.",
            ) from error
        session.verify = str(settings.ca_file)
    if settings.token_file is not None:
        session.auth = _Bearer(_secret(settings.token_file))
    elif settings.user is not None and settings.password_file is not None:
        session.auth = HTTPBasicAuth(settings.user.encode(), _secret(settings.password_file).encode())
    return session


def _secret(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The file of the archive's password or token cannot be read.", "Check its name and permissions."
        ) from error
    if not secret or not secret.isprintable():
        raise ConfigError(
            "The file of the archive's password or token does not hold one line.", "Write the secret alone."
        )
    return secret


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Errors of HTTP in the words of the person who must act."""
    try:
        yield
    except requests.HTTPError as error:
        assert error.response is not None
        raise _by_status(error.response.status_code) from error
    except requests.TooManyRedirects as error:
        raise PacsError(
            "The archive leads to another address.", "Give the address that it leads to as url."
        ) from error
    except requests.JSONDecodeError as error:
        raise _not_dicomweb() from error
    except (requests.RequestException, NotMultipartError) as error:
        if _is_about_certificate(error):
            raise PacsError(
                "The archive's certificate is not of a trusted authority, not for its host, or out of date.",
                "Set ca_file to the authority that issued it, or have the certificate renewed.",
            ) from error
        raise ConnectionLostError(
            "The archive does not answer, or the connection keeps breaking.",
            "Check its url, the network and that it runs; what has arrived is not fetched twice.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON, but not DICOM's
        raise _not_dicomweb() from error


def _by_status(status: int) -> PacsError:
    if status in NO_ACCESS:
        return PacsError(
            "The archive does not let this site in.", "Check the user with its password, or the token."
        )
    if status >= 500 or status in BUSY:
        return ConnectionLostError(
            "The archive reports a fault of its own.", "Try again later, or ask its administrator."
        )
    return _not_dicomweb()


def _not_dicomweb() -> PacsError:
    return PacsError(
        "What answers at the archive's address does not speak DICOMweb.",
        "Check url: it is the root of the service, which `/studies` is appended to.",
    )


def _is_about_certificate(error: BaseException) -> bool:
    """Whether a chain of errors begins with a certificate that does not hold."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        one = queue.pop()
        if not isinstance(one, BaseException) or one in seen:
            continue
        if isinstance(one, ssl.SSLCertVerificationError):
            return True
        seen.append(one)
        queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return False
