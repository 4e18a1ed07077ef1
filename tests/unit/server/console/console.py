"""A console over a real home, and browsers that ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from server.console.app import make_app
from server.console.passwords import encode
from server.coordinator import Coordinator, identity_of
from server.enrolment import EnrolledSite, SiteKeys
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.joining import invite
from server.members import Contact
from shared.enrolment.refusal import Refusal
from shared.enrolment.token import hash_secret
from shared.errors import UnreachableError
from shared.persons.roles import Role
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr

ORIGIN = "https://localhost:8447"
PASSWORD = "some words of nobody's"
TLS_KEY = TlsKey.generate()
ROLES = {"ada": Role.ADMINISTRATOR, "otto": Role.OPERATOR, "vera": Role.VIEWER}


@dataclass
class Clock:
    """Stands still unless it is moved on."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class SimulatedSuperLink:
    """Which nodes are in touch, and whether the SuperLink runs."""

    known: dict[int, Contact] = field(default_factory=dict)
    error: UnreachableError | None = None

    def contacts(self) -> Mapping[int, Contact]:
        return self.known

    def require_running(self) -> None:
        if self.error is not None:
            raise self.error


class Browser:
    """Keeps its cookies and says of its forms that they come from the console's own pages."""

    def __init__(self, app, *, address: str = "127.0.0.1") -> None:
        self._app = app
        self._address = address
        self.cookies = httpx.Cookies()

    def ask(self, method: str, path: str, *, base: str = ORIGIN, **options) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=(self._address, 50_000))
            async with httpx.AsyncClient(
                transport=transport, base_url=base, cookies=self.cookies, follow_redirects=False
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(ask())

    def get(self, path: str, **options) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        return self.ask("POST", path, data=form or {"": ""}, headers={"origin": ORIGIN, **headers})

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/sign-in", {"name": name, "password": password, "to": "/"})


class Console:
    """The application over a founded home in which persons of all roles have passwords."""

    def __init__(self, folder: Path) -> None:
        self.home = CoordinatorHome(folder)
        settings = CoordinatorSettings(name="Density <study>", console_port=8447)
        found(self.home, settings, now=time.time(), actor="test")
        self.coordinator = Coordinator.open(self.home)
        self.clock, self.superlink = Clock(), SimulatedSuperLink()
        for name, role in ROLES.items():
            self.coordinator.persons.add(name, role, actor="test", at=self.clock())
            self.set_password(name)
        self.app = make_app(self.home, self.coordinator, control=self.superlink, clock=self.clock)

    def set_password(self, name: str, password: str = PASSWORD) -> None:
        encoded = encode(password, name=name)
        self.coordinator.passwords.set(name, encoded, actor=f"person:{name}", at=self.clock())

    def stranger(self, address: str = "127.0.0.1") -> Browser:
        return Browser(self.app, address=address)

    def browser_of(self, name: str) -> Browser:
        browser = self.stranger()
        assert browser.sign_in(name).status_code == 303
        return browser

    def enrol(self, name: str, *, by_hand: bool = False) -> SiteKeys:
        """A hospital that joins, or waits for approval."""
        invitation = invite(
            self.home,
            self.coordinator,
            name,
            days=7,
            by_hand=by_hand,
            now=time.time(),
            actor="test",
        )
        keys = SiteKeys(
            csr_pem=new_csr(TLS_KEY),
            signing_key=SigningKey.generate().verify_key,
            node_key=NodeKey.generate().public,
            software_version="0.1.0",
        )
        identity = identity_of(self.home)
        said = self.coordinator.federation.enrol(
            secret_hash=hash_secret(invitation.token.secret),
            now=time.time(),
            keys=keys,
            issue=lambda site_id: identity.issue(keys.csr_pem, site_id, now=time.time()),
        )
        assert said is Refusal.PENDING if by_hand else isinstance(said, EnrolledSite)
        return keys

    def states(self) -> dict[str, str]:
        return {site.name: site.state.value for site in self.coordinator.federation.sites()}

    def lines(self, name: str) -> list[tuple[str, str, Mapping[str, object]]]:
        """Actor, subject and details of the audit lines of a name."""
        return [
            (line.actor, line.subject, line.details)
            for line in self.coordinator.audit.lines()
            if line.name == name
        ]
