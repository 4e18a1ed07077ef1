"""Hospitals join and train while the root's key is elsewhere, and stay when its issuer is exchanged."""

from __future__ import annotations

import pytest

from client.home import SiteHome
from shared.files import write_file
from shared.trust.certificates import load_chain
from tests.e2e.small_federation import SmallFederation, build, running, shared_hospitals


def is_trained(federation: SmallFederation, name: str) -> bool:
    """Whether every hospital's answer counts in a run of one round."""
    shown = federation.finish(federation.launch(federation.write_plan(name, rounds=1)))
    return [[part["state"] for part in one["parts"]] for one in shown["rounds"]] == [["admitted", "admitted"]]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_hospitals_join_train_and_stay_while_the_roots_key_is_offline(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("offline")
    federation = build(folder, shared_hospitals(request.config, tmp_path_factory)[:2])
    coordinator, root_file = federation.coordinator, folder / "root.sealed"
    passphrase_file = folder / "passphrase"
    write_file(passphrase_file, b"tundra copper violin\n")
    sealed_by = ("--passphrase-file", str(passphrase_file))
    coordinator.run("keys", "take-root-offline", str(root_file), *sealed_by)
    first = coordinator.ask("keys", "show")

    with running(federation):
        assert is_trained(federation, "under-the-first-issuer")
        for role in federation.sites.values():
            membership = SiteHome(role.home).membership()
            assert len(load_chain(membership.certificate_pem)) == 2
            assert role.ask("keys", "show")["coordinator_roots"] == first["roots"]
            assert all(check["passed"] for check in role.ask("check"))
        coordinator.stop()
        renewed = coordinator.ask("keys", "renew-issuer", "--root-key", str(root_file), *sealed_by)
        coordinator.start()

        assert renewed["issuer_ends_at"] > first["issuer_ends_at"]
        assert is_trained(federation, "under-the-second-issuer")
