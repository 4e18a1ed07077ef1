"""The proxy that `site.toml` names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from shared.errors import ConfigError
from shared.files import read_secret_line
from shared.proxy import Proxy
from shared.tables import Table


def _checked(url: str) -> str:
    parts = urlsplit(url)
    is_plain = parts.scheme == "http" and parts.path in {"", "/"} and not parts.query and not parts.fragment
    if not is_plain or parts.hostname is None or parts.port is None or not url.isprintable():
        raise ValueError("write it as http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise ValueError("write user and password into the file of `credentials_file`")
    return url


class ProxySettings(Table):
    """`[proxy]` of `site.toml`.

    Attributes
    ----------
    url
        `http://HOST:PORT`.
    credentials_file
        File with `user:password`, for a proxy that asks for them; below the home if not absolute.
    """

    url: Annotated[str, Field(max_length=300), AfterValidator(_checked)]
    credentials_file: Annotated[str, Field(min_length=1)] | None = None

    def read(self, home: Path) -> Proxy:
        """The proxy with its credentials.

        Raises
        ------
        ConfigError
            The file with the credentials cannot be read, is open to others, or holds none.
        """
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None  # checked
        return Proxy(host=parts.hostname, port=parts.port, credentials=self._credentials(home))

    def _credentials(self, home: Path) -> SecretStr | None:
        if self.credentials_file is None:
            return None
        setting = "`proxy.credentials_file` in site.toml"
        line = read_secret_line(home / self.credentials_file, what="the proxy's credentials", setting=setting)
        if ":" not in line:
            raise ConfigError(
                "The file with the proxy's credentials holds no `user:password`.",
                "Write it on one line, alone.",
            )
        return SecretStr(line)
