"""A site that is revoked, or exchanges its keys, in the middle of a round."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from server.lifecycle import AnswerState, RunState
from tests.unit.server.simulated_federation import (
    Asked,
    NodeError,
    Silence,
    SimulatedFederation,
    SimulatedSite,
    honest,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 60.0
"""For rounds in which every site answers, however slow the machine."""


def test_a_site_that_is_revoked_amid_a_round_is_lost_to_it_at_once_and_never_asked_again(
    federation: SimulatedFederation,
) -> None:
    def be_revoked(site: SimulatedSite, _asked: Asked) -> bytes:
        federation.coordinator.memberships.revoke(site.name, reason=None, now=time.time(), actor="ada")
        raise Silence

    federation["bergen"].does(be_revoked, in_round=1)
    began = time.monotonic()

    federation.run()

    assert time.monotonic() - began < federation.plan.rounds.timeout_s
    assert federation.state is RunState.FINISHED
    assert federation.answer_of("bergen", 1) == (AnswerState.LOST, "the site was revoked")
    assert [occasion.round_number for occasion in federation["bergen"].asked] == [1]
    assert federation.answers_of("bergen", 2) == []
    expected = federation.honest_mean(1, "aarhus", "cork")
    aggregate = federation.weights(federation.aggregate_of(1))
    for name, tensor in expected.items():
        torch.testing.assert_close(aggregate[name], tensor)


def test_an_answer_that_arrives_after_its_sites_revocation_does_not_enter_the_aggregate(
    federation: SimulatedFederation,
) -> None:
    def answer_too_late(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        federation.coordinator.memberships.revoke(site.name, reason=None, now=time.time(), actor="ada")
        return said

    federation["bergen"].does(answer_too_late, in_round=1)

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.LOST, "the site was revoked")
    expected = federation.honest_mean(1, "aarhus", "cork")
    aggregate = federation.weights(federation.aggregate_of(1))
    for name, tensor in expected.items():
        torch.testing.assert_close(aggregate[name], tensor)


def test_an_answer_signed_by_the_key_before_counts_for_what_was_announced_before_the_exchange(
    federation: SimulatedFederation,
) -> None:
    def exchange_after_signing(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        site.exchange_signing_key()
        certificate_pem = federation.coordinator.memberships.get(site.site_id).certificate_pem
        assert federation.coordinator.memberships.use(site.site_id, certificate_pem)
        return said

    federation["bergen"].does(exchange_after_signing, in_round=1)

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.ADMITTED, None)
    assert federation.answer_of("bergen", 2) == (AnswerState.ADMITTED, None)


def test_a_thief_of_a_replaced_signing_key_cannot_answer_what_was_announced_after_the_exchange(
    federation: SimulatedFederation,
) -> None:
    bergen = federation["bergen"]
    stolen = bergen.signing_key
    bergen.exchange_signing_key()
    certificate_pem = federation.coordinator.memberships.get(bergen.site_id).certificate_pem
    assert federation.coordinator.memberships.use(bergen.site_id, certificate_pem)

    def answer_with_the_stolen_key(site: SimulatedSite, asked: Asked) -> bytes:
        site.signing_key, own = stolen, site.signing_key
        try:
            return honest(site, asked)
        finally:
            site.signing_key = own

    bergen.does(answer_with_the_stolen_key, honest, in_round=1)

    federation.run()

    state, reason = federation.answer_of("bergen", 1)
    assert (state, "another key" in (reason or "")) == (AnswerState.REJECTED, True)
    assert federation.answer_of("bergen", 2) == (AnswerState.ADMITTED, None)


@pytest.mark.parametrize("last_words", [Silence, NodeError], ids=["it is silent", "Flower reports its end"])
def test_a_site_whose_new_node_was_up_before_it_was_asked_on_the_old_one_is_asked_again_at_once(
    federation: SimulatedFederation, last_words: type[Exception]
) -> None:
    bergen = federation["bergen"]

    def move(site: SimulatedSite, _asked: Asked) -> bytes:
        federation.channel.sites[99] = site
        federation.coordinator.federation.set_node_id(site.site_id, 99)
        raise last_words

    bergen.does(move, honest, in_round=1)
    began = time.monotonic()

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.ADMITTED, None)
    assert time.monotonic() - began < federation.plan.rounds.timeout_s
