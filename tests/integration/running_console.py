"""The console's own process over a founded home, without the rest of the coordinator."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.demo.federation import free_ports, wait_until
from server.console.passwords import encode
from server.coordinator import Coordinator, identity_of
from server.enrolment import EnrolledSite, SiteKeys
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.joining import invite
from server.single_sign_on import SingleSignOnSettings
from shared.enrolment.token import hash_secret
from shared.flower.environment import flower_environment
from shared.persons.roles import Role
from shared.supervision import Program, Supervisor
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr

PASSWORD = "some words of nobody's"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A home, opened, and the address of the console that serves it."""

    home: CoordinatorHome
    coordinator: Coordinator

    @property
    def address(self) -> str:
        return f"https://localhost:{self.home.settings().console_port}"

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Somebody who trusts the federation's root and is signed in as its administrator."""
        context = ssl.create_default_context(cafile=self.home.root_certificate_file)
        headers = {"origin": self.address}
        with httpx.Client(base_url=self.address, verify=context, headers=headers) as client:
            answer = client.post("/sign-in", data={"name": "ada", "password": PASSWORD})
            assert answer.status_code == 303
            yield client

    def enrol(self, name: str) -> None:
        """A hospital that joins."""
        identity, now = identity_of(self.home), time.time()
        invitation = invite(self.home, self.coordinator, name, days=7, by_hand=False, now=now, actor="test")
        keys = SiteKeys(
            csr_pem=new_csr(TlsKey.generate()),
            signing_key=SigningKey.generate().verify_key,
            node_key=NodeKey.generate().public,
            software_version="0.1.0",
        )
        said = self.coordinator.federation.enrol(
            secret_hash=hash_secret(invitation.token.secret),
            now=now,
            keys=keys,
            issue=lambda site_id: identity.issue(keys.csr_pem, site_id, now=now),
        )
        assert isinstance(said, EnrolledSite)


@contextlib.contextmanager
def running_console(
    folder: Path, *, single_sign_on: SingleSignOnSettings | None = None
) -> Iterator[RunningConsole]:
    """Found a federation whose administrator is `ada`, and serve its console until the block is left."""
    home = CoordinatorHome(folder)
    port = free_ports(1)
    settings = CoordinatorSettings(name="Density study", console_port=port, single_sign_on=single_sign_on)
    found(home, settings, now=time.time(), actor="test")
    coordinator = Coordinator.open(home)
    coordinator.persons.add("ada", Role.ADMINISTRATOR, actor="test", at=time.time())
    encoded = encode(PASSWORD, name="ada")
    coordinator.passwords.set("ada", encoded, actor="person:ada", at=time.time())
    program = Program(
        name="console",
        module="server.console.process",
        arguments=[str(home.folder)],
        environment=flower_environment(home.flower / "console"),
        log_file=home.logs / "console.log",
    )
    supervisor = Supervisor([program])
    supervisor.tend()
    try:
        context = ssl.create_default_context(cafile=home.root_certificate_file)
        wait_until(lambda: _is_up(port, context), START_S, "the console")
        yield RunningConsole(home, coordinator)
    finally:
        supervisor.stop()


def _is_up(port: int, context: ssl.SSLContext) -> bool:
    try:
        return httpx.get(f"https://localhost:{port}/health", verify=context).is_success
    except httpx.TransportError:
        return False


def events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and parts of each event of a stream, as it comes."""
    name = "message"
    for line in answer.iter_lines():
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            yield name, json.loads(value) if value.strip() else {}
