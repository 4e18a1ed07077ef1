"""A site's certificate ends in the middle of a run: it was renewed before, and nothing is lost."""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from client.home import SiteHome
from client.renewal import RENEW_AFTER, jitter_of
from deploy.demo.federation import wait_until
from server.coordinator import identity_of
from server.home import CoordinatorHome
from shared.trust.certificates import expires_at
from shared.trust.issuing import new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from tests.e2e.small_federation import VENDORS, SmallFederation, halted
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

VICTIM, OTHER, EXECUTOR = "hospital-north", "hospital-coast", "client.flower.executor"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
TIMEOUT_S = 300.0
DUE_AFTER_S = 100.0
"""A running site looks every minute: at the second look from then on the certificate is due."""


def give_certificate(federation: SmallFederation, life_s: float) -> bytes:
    """Let a site, which does not run, have a certificate that ends so soon; returns it."""
    home, coordinator = SiteHome(federation.sites[VICTIM].home), CoordinatorHome(federation.coordinator.home)
    membership = home.membership()
    certificate_pem = new_site_certificate(
        csr_pem=new_csr(TlsKey.load(home.keys(membership.key_generation).tls)),
        site_id=membership.site_id,
        issuer=identity_of(coordinator).issuer,
        now=time.time(),
        life=timedelta(seconds=life_s),
    )
    with sqlite3.connect(coordinator.folder / "coordinator.db") as register:
        register.execute(
            "UPDATE site SET certificate_pem = ? WHERE site_id = ?", (certificate_pem, membership.site_id)
        )
    home.write_membership(replace(membership, certificate_pem=certificate_pem))
    return certificate_pem


@pytest.mark.long
@pytest.mark.timeout(500)
def test_a_certificate_that_ends_amid_a_run_costs_no_contribution(
    federation: SmallFederation, witness: Witness
) -> None:
    role = federation.sites[VICTIM]
    home = SiteHome(role.home)
    jitter = jitter_of(home.membership().site_id)
    role.stop()
    ending = give_certificate(federation, DUE_AFTER_S / (RENEW_AFTER * (1 + jitter)))
    role.start()
    wait_until(federation.is_all_online, 60, "all nodes")
    plan = federation.write_plan("certificate", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(OTHER, run_id, round_number=2)

    with halted(federation.sites[OTHER], EXECUTOR):  # the run must not be over before the certificate is
        wait_until(lambda: time.time() > expires_at(ending) + 1, TIMEOUT_S, "the end of the certificate")
    shown = federation.finish(run_id)

    assert home.membership().certificate_pem != ending
    assert [{part["site"]: part["state"] for part in one["parts"]} for one in shown["rounds"]] == [
        dict.fromkeys(VENDORS, "admitted")
    ] * 3
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    witness.reckon(run_id, rounds=3)
