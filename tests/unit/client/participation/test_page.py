"""The running site's page: what it shows, and who is kept from it and from its button."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from client.home import SiteHome
from client.page.links import LINK_LIFE_S, actor_of, find, mint
from client.page.listening import MOST_AT_ONCE, listening
from client.store.audit import AuditLog, Persons
from client.store.opening import open_site_store
from deploy.demo.federation import wait_until
from shared.errors import HomeError, TrustError
from shared.files import hold_folder
from shared.persons.roles import Role
from tests.unit.client.participation.conftest import MinimalCoordinator, bearer


def actors_of_pauses(home: SiteHome) -> list[str]:
    return [line.actor for line in AuditLog(open_site_store(home.folder)).lines() if "paused" in line.name]


def test_a_link_leads_to_the_page_and_its_key_shows_the_state(base: str, home: SiteHome) -> None:
    url, _, key = mint(home, actor="local:admin").partition("#")

    shell, state = httpx.get(url), httpx.get(f"{base}/state", headers=bearer(key))

    assert shell.status_code == 200
    assert state.json()["state"] == "waiting"
    assert state.json()["site_name"] == "aarhus"


def test_the_page_itself_holds_nothing_of_the_site(base: str) -> None:
    shell = httpx.get(base).text

    assert "aarhus" not in shell
    assert "federation “" not in shell.partition("<script>")[0]


def test_the_button_pauses_and_the_other_resumes_under_the_name_of_the_links_person(
    base: str, key: str, home: SiteHome
) -> None:
    stopped = httpx.post(f"{base}/pause", headers=bearer(key), timeout=30)

    assert stopped.status_code == 200
    assert home.paused_file.exists()
    assert actors_of_pauses(home) == ["local:admin"]

    httpx.post(f"{base}/resume", headers=bearer(key), timeout=30)
    assert not home.paused_file.exists()


@pytest.mark.parametrize(
    "headers", [{}, bearer("guessed"), {"Cookie": "key=x"}, {"Authorization": "Basic eDp5"}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/state"), ("POST", "/pause"), ("POST", "/resume"), ("GET", "/clinical"), ("POST", "/clinical")],
)
def test_another_user_of_the_machine_without_a_link_sees_and_does_nothing(
    method: str, path: str, headers: dict[str, str], base: str, home: SiteHome
) -> None:
    answer = httpx.request(method, base + path, headers=headers)

    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "hint"}
    assert not home.paused_file.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_that_a_foreign_page_makes_is_refused_even_with_the_key(
    headers: dict[str, str], base: str, key: str, home: SiteHome
) -> None:
    answer = httpx.post(f"{base}/pause", headers=bearer(key, **headers))

    assert answer.status_code == 403
    assert not home.paused_file.exists()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.0.2.1", ""]
)
@pytest.mark.parametrize("path", ["/", "/state"])
def test_a_foreign_name_that_is_pointed_here_gets_nothing(path: str, host: str, base: str, key: str) -> None:
    answer = httpx.get(base + path, headers=bearer(key, Host=host))

    assert answer.status_code in {400, 403}
    assert "aarhus" not in answer.text


def test_through_a_tunnel_of_ssh_the_page_answers(base: str, key: str) -> None:
    assert httpx.get(f"{base}/state", headers=bearer(key, Host="localhost:9000")).status_code == 200


def test_the_page_runs_its_own_script_alone_and_stands_in_no_frame(base: str) -> None:
    headers = httpx.get(base).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers


def test_a_get_changes_nothing(base: str, key: str, home: SiteHome) -> None:
    assert httpx.get(f"{base}/pause", headers=bearer(key)).status_code == 405
    assert not home.paused_file.exists()


def test_the_key_is_in_no_file(base: str, key: str, home: SiteHome) -> None:
    assert not [
        file for file in home.folder.rglob("*") if file.is_file() and key.encode() in file.read_bytes()
    ]


def test_a_link_ends_after_its_time(key: str, home: SiteHome) -> None:
    assert find(home, key, now=time.time() + LINK_LIFE_S - 60) is not None
    assert find(home, key, now=time.time() + LINK_LIFE_S + 1) is None


def test_a_link_ends_with_the_service_that_it_was_made_for(base: str, key: str, home: SiteHome) -> None:
    with listening(home) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/state", headers=bearer(key)).status_code == 401


def test_no_link_is_made_while_no_site_runs(coordinator: MinimalCoordinator, home: SiteHome) -> None:
    with pytest.raises(HomeError):
        mint(home, actor="local:admin")
    with hold_folder(home.folder), listening(home):
        mint(home, actor="local:admin")
    with pytest.raises(HomeError):
        mint(home, actor="local:admin")


def test_a_viewer_sees_and_may_not_stop(base: str, home: SiteHome) -> None:
    persons = Persons(open_site_store(home.folder))
    persons.add("anna", Role.ADMINISTRATOR, actor="test", at=1.0)
    persons.add("vera", Role.VIEWER, actor="test", at=1.0)
    key = mint(home, actor="person:vera").partition("#")[2]

    assert httpx.get(f"{base}/state", headers=bearer(key)).status_code == 200
    assert httpx.post(f"{base}/pause", headers=bearer(key)).status_code == 403
    assert not home.paused_file.exists()


def test_a_person_who_was_disabled_has_no_link_any_more(
    coordinator: MinimalCoordinator, home: SiteHome
) -> None:
    persons = Persons(open_site_store(home.folder))
    for name in ("anna", "otto"):
        persons.add(name, Role.ADMINISTRATOR, actor="test", at=1.0)
    with hold_folder(home.folder), listening(home):
        link = find(home, mint(home, actor="person:otto").partition("#")[2], now=time.time())
    assert link is not None
    assert actor_of(link, persons).name == "person:otto"

    persons.disable("otto", actor="test", at=2.0)

    with pytest.raises(TrustError):
        actor_of(link, persons)


def test_the_link_of_a_user_of_the_system_ends_when_persons_get_names(
    base: str, key: str, home: SiteHome
) -> None:
    Persons(open_site_store(home.folder)).add("anna", Role.ADMINISTRATOR, actor="test", at=1.0)

    assert httpx.get(f"{base}/state", headers=bearer(key)).status_code == 403


def test_whoever_holds_many_connections_keeps_nobody_out_afterwards(base: str, key: str) -> None:
    port = int(base.rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_AT_ONCE + 8)]
    assert httpx.get(f"{base}/state", headers=bearer(key)).status_code == 503

    for each in held:
        each.close()

    wait_until(lambda: httpx.get(f"{base}/state", headers=bearer(key)).status_code == 200, 10, "the page")
