"""What `[proxy]` of site.toml may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.home import SiteHome
from shared.errors import ConfigError

USER, PASSWORD = "hospital", "p@ss:w/o%20rd"


def home_with(folder: Path, proxy: str, credentials: str | None = None, *, mode: int = 0o600) -> SiteHome:
    home = SiteHome(folder)
    home.settings_file.write_text(f"[proxy]\n{proxy}\n")
    if credentials is not None:
        file = folder / "proxy.secret"
        file.write_text(credentials)
        file.chmod(mode)
    return home


def test_a_site_without_the_table_goes_straight(tmp_path: Path) -> None:
    assert SiteHome(tmp_path).proxy() is None


def test_credentials_come_from_a_file_and_go_into_the_url_alone(tmp_path: Path) -> None:
    home = home_with(
        tmp_path,
        'url = "http://proxy.example:3128"\ncredentials_file = "proxy.secret"',
        f"{USER}:{PASSWORD}\n",
    )

    proxy = home.proxy()

    assert proxy is not None
    assert proxy.url() == "http://hospital:p%40ss%3Aw%2Fo%2520rd@proxy.example:3128"
    assert PASSWORD not in repr(proxy)
    assert PASSWORD not in repr(home.settings())


def test_this_machine_is_reached_without_the_proxy(tmp_path: Path) -> None:
    proxy = home_with(tmp_path, 'url = "http://proxy.example:3128"').proxy()

    assert proxy is not None
    assert [proxy.serves(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost")] == [False] * 4
    assert [proxy.serves(host) for host in ("10.0.0.1", "coordinator.example")] == [True] * 2


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.example:3128",
        "socks5://proxy.example:1080",
        "http://proxy.example",
        "http://proxy.example:3128/path",
        "http://hospital:secret@proxy.example:3128",
        "http://proxy.example:99999",
        "proxy.example:3128",
    ],
)
def test_a_url_of_another_form_is_refused_and_a_password_in_it_is_not_repeated(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"'proxy\.url' is not usable") as refused:
        home_with(tmp_path, f'url = "{url}"').proxy()

    assert "secret" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o600, "cannot be read"),
        ("a:b", 0o644, "open to other users"),
        ("", 0o600, "holds no such line"),
        ("no-colon", 0o600, "holds no `user:password`"),
    ],
)
def test_a_file_of_credentials_that_cannot_be_used_is_told(
    content: str | None, mode: int, words: str, tmp_path: Path
) -> None:
    home = home_with(
        tmp_path,
        'url = "http://proxy.example:3128"\ncredentials_file = "proxy.secret"',
        content,
        mode=mode,
    )

    with pytest.raises(ConfigError, match=words):
        home.proxy()
