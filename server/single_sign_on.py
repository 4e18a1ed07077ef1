"""`[single_sign_on]` of `coordinator.toml`: a hospital's own sign-in, which opens the console too."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.display_name import DisplayName
from shared.proxy import is_safe_address
from shared.tables import Table


def _safe(address: str) -> str:
    if not is_safe_address(address):
        raise ValueError("an address that begins with https://")
    return address.rstrip("/")


class SingleSignOnSettings(Table):
    """A provider of OpenID Connect that vouches for persons who have an account here.

    Attributes
    ----------
    issuer
        Its address, as its tokens name it; nothing is asked there until somebody signs in by it.
    client_id
        What this console is called there.
    client_secret_file
        File of mode 0600 whose one line proves that to it; left out where the provider asks for none.
    ca_file
        Certificates to trust, PEM, in the place of the system's.
    label
        What is on its button.
    """

    issuer: Annotated[str, Field(max_length=500), AfterValidator(_safe)]
    client_id: Annotated[str, Field(min_length=1, max_length=200)]
    client_secret_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    ca_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    label: DisplayName = "single sign-on"
