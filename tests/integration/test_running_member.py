"""A running coordinator and a running site by their commands: keys exchanged meanwhile, then a revocation."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from deploy.demo.federation import (
    CommandError,
    Role,
    coordinator,
    free_ports,
    site,
    stopped_at_end,
    wait_until,
)
from server.coordinator import Coordinator
from server.flower.control import Control
from server.home import CoordinatorHome
from server.members import Contact
from server.store import Site
from shared.errors import TrustError

ONLINE_WITHIN_S = 60.0
REVOKED_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Role, Role]]:
    folder = tmp_path_factory.mktemp("members")
    server, member = coordinator(folder / "coordinator"), site(folder / "site")
    server.run("init", "--name", "Running", "--first-port", str(free_ports(5)))
    with stopped_at_end(server, member):
        server.start()
        yield server, member


def join_by_hand(server: Role, member: Role) -> None:
    token = server.ask("site", "invite", "aarhus", "--approve-by-hand")["token"]
    line = [*member._line("join", token), "--json"]
    joining = subprocess.Popen(line, env=member._environment(), stdout=subprocess.PIPE, text=True)
    assert joining.stdout is not None
    waiting = json.loads(joining.stdout.readline())
    assert server.ask("site", "list")[0]["state"] == waiting["state"].replace("waiting", "pending")
    with pytest.raises(CommandError, match="another fingerprint"):
        server.run("site", "approve", "aarhus", "--fingerprint", "0" * 64)
    server.run("site", "approve", "aarhus", "--fingerprint", waiting["fingerprint"].upper())
    joined = json.loads(joining.stdout.readline())
    assert (joining.wait(), joined["site_name"]) == (0, "aarhus")


def the_site(home: CoordinatorHome) -> Site:
    (one,) = Coordinator.open(home).federation.active()
    return one


@pytest.mark.slow
def test_a_member_joins_by_approval_exchanges_its_keys_while_running_and_is_revoked(
    roles: tuple[Role, Role],
) -> None:
    server, member = roles
    home = CoordinatorHome(server.home)
    join_by_hand(server, member)
    member.start()
    control = Control(home)

    def is_online() -> bool:
        return control.nodes().get(the_site(home).node_id, False)

    wait_until(is_online, ONLINE_WITHIN_S, "the site's node")
    before = the_site(home)
    assert before.node_id is not None
    assert control.contacts()[before.node_id] == Contact(is_online=True, silent_since=None)

    rotated = member.ask("keys", "rotate")
    assert rotated == {"site_id": before.site_id, "key_generation": 1}

    wait_until(lambda: the_site(home).node_id != before.node_id, ONLINE_WITHIN_S, "the node of the new key")
    wait_until(is_online, ONLINE_WITHIN_S, "the new node")
    wait_until(lambda: before.node_id not in control.nodes(), ONLINE_WITHIN_S, "the end of the old node")
    assert the_site(home).site_id == before.site_id

    server.run("site", "revoke", "aarhus", "--reason", "left the study")

    wait_until(lambda: control.nodes() == {}, REVOKED_WITHIN_S, "the end of the revoked node")
    assert member.process is not None
    assert member.process.wait(REVOKED_WITHIN_S) == TrustError.exit_code
    log = (member.home / "logs" / "site.log").read_text()
    assert log.count("This site was revoked by the coordinator.") == 1
    with pytest.raises(CommandError, match="from revoked to revoked"):
        server.run("site", "revoke", "aarhus")
    assert server.ask("site", "list")[0]["state"] == "revoked"
    calls = (home.logs / "superlink.log").read_text()
    assert ("RegisterNode" in calls, "ListNodes" in calls) == (True, False)
