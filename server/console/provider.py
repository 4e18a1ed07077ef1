"""The provider of OpenID Connect that `[single_sign_on]` names, and its authorization code flow.

With PKCE (RFC 7636), `state` and `nonce`, each of 256 random bits and for one sign-in. What a provider says
of its own addresses is believed only where they are as safe as the issuer's; `iss` of an answer is held
against the issuer where it is told (RFC 9207).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from server.console.id_token import Vouched, read_id_token, refused
from server.single_sign_on import SingleSignOnSettings
from shared.errors import ConfigError, UnreachableError
from shared.files import read_secret_line
from shared.proxy import is_safe_address

RANDOM_BYTES = 32
TIMEOUT_S = 10.0
MOST_BYTES = 1_000_000
METADATA = "/.well-known/openid-configuration"
SCOPE = "openid email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that somebody has gone to the provider with; nothing of it is told twice.

    Attributes
    ----------
    address
        Where the browser goes.
    verifier
        Whose hash the provider was given.
    redirect_uri
        Where it lets the browser come back to.
    """

    address: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    token_endpoint: str
    jwks_uri: str


class Provider:
    """Speaks with the provider.

    Parameters
    ----------
    folder
        That file names of the settings are relative to.
    transport
        For tests; None is the network.

    Raises
    ------
    ConfigError
        The certificates to trust cannot be read.
    """

    def __init__(
        self, settings: SingleSignOnSettings, folder: Path, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.label = settings.label
        self._settings = settings
        self._folder = folder
        self._client = httpx.Client(
            verify=_context(folder, settings.ca_file), timeout=TIMEOUT_S, transport=transport
        )

    def begin(self, redirect_uri: str) -> Begun:
        """A new sign-in. Raises UnreachableError if the provider does not say where it is."""
        issuer = self._settings.issuer
        metadata = self._fetch(issuer + METADATA)
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        authorization, token, keys = (str(metadata.get(name, "")) for name in names)
        if metadata.get("issuer") not in {issuer, f"{issuer}/"} or not all(
            map(is_safe_address, (authorization, token, keys))
        ):
            raise _silent()
        state, nonce, verifier = (secrets.token_urlsafe(RANDOM_BYTES) for _ in range(3))
        challenge = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return Begun(
            address=f"{authorization}{'&' if '?' in authorization else '?'}{urlencode(query)}",
            state=state,
            nonce=nonce,
            verifier=verifier,
            redirect_uri=redirect_uri,
            token_endpoint=token,
            jwks_uri=keys,
        )

    def finish(self, begun: Begun, answer: Mapping[str, str], *, now: float) -> Vouched:
        """Whom the provider vouches for.

        Parameters
        ----------
        answer
            What the browser has come back with.

        Raises
        ------
        NotLetInError
            It is no answer to this sign-in, or the provider has refused.
        UnreachableError
            The provider does not answer.
        """
        issuer = self._settings.issuer
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise refused()
        if answer.get("iss", issuer).rstrip("/") != issuer or not answer.get("code"):
            raise refused()
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": begun.redirect_uri,
            "code_verifier": begun.verifier,
            "client_id": self._settings.client_id,
        }
        token = self._fetch(begun.token_endpoint, form).get("id_token")
        if not isinstance(token, str):
            raise refused()
        return read_id_token(
            token,
            self._fetch(begun.jwks_uri),
            issuer=issuer,
            client_id=self._settings.client_id,
            nonce=begun.nonce,
            now=now,
        )

    def _fetch(self, address: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            request = self._client.build_request("GET" if form is None else "POST", address, data=form)
            answer = self._client.send(request, auth=self._credentials() if form else None)
            if form is not None and answer.is_client_error:
                raise refused()
            document = answer.raise_for_status().json() if len(answer.content) <= MOST_BYTES else None
        except (httpx.HTTPError, ValueError) as error:
            raise _silent() from error
        if not isinstance(document, dict):
            raise _silent()
        return document

    def _credentials(self) -> httpx.Auth | None:
        if self._settings.client_secret_file is None:
            return None
        secret = read_secret_line(
            self._folder / self._settings.client_secret_file,
            what="the secret of the single sign-on",
            setting="`client_secret_file` of [single_sign_on]",
        )
        return httpx.BasicAuth(self._settings.client_id, secret)


def _context(folder: Path, ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else folder / ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "The certificates of `ca_file` of [single_sign_on] cannot be read.",
            "Name a file of certificates in PEM.",
        ) from error


def _silent() -> UnreachableError:
    return UnreachableError(
        "The provider of the single sign-on does not answer as it should.",
        "Use your password, or try again; `issuer` of [single_sign_on] names the provider.",
    )
