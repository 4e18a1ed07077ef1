"""Runs under noise at the coordinator: what a site must tell of them, and what the model card says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.learning_curves import lines_of
from server.lifecycle import AnswerState, RunState
from server.model_card import write_model_card
from server.summary import summarize
from shared.plan import PatientNoisePlan, Plan, PrivacyPlan
from shared.reference import Reference
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
NOISE = PatientNoisePlan(multiplier=1.5, gradient_norm=0.5, delta=1e-6)


def noisy_plan(*, is_masked: bool = False) -> Plan:
    privacy = PrivacyPlan(patient_noise=NOISE, secure_aggregation="on" if is_masked else "off")
    return small_plan(2).model_copy(update={"metrics": (), "privacy": privacy})


@pytest.mark.parametrize("is_masked", [False, True])
def test_the_card_tells_the_largest_epsilon_with_its_unit_and_what_it_does_not_cover(
    found_federation: Make, is_masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = found_federation(plan=noisy_plan(is_masked=is_masked))
    contribution = SimulatedSite.contribution

    def bare(site: SimulatedSite, asked: Asked, *arguments: object) -> object:
        told = contribution(site, asked, *arguments)  # type: ignore[arg-type]
        return told.model_copy(update={"train_loss": None, "evaluation": None})

    monkeypatch.setattr(SimulatedSite, "contribution", bare)
    for name, epsilon in zip(("aarhus", "bergen", "cork"), (2.5, 3.25, 1.0), strict=True):
        federation[name].epsilon = epsilon

    federation.run()

    assert federation.state is RunState.FINISHED
    run = federation.coordinator.runs.get(RUN_ID)
    card = write_model_card(
        "m",
        summarize(run, federation.coordinator),
        lines_of(federation.coordinator, RUN_ID),
        federation.plan,
        Reference(),
        created_at="now",
        software="this",
        calibration=None,
    )
    said = " ".join(card.split())
    assert "Differential privacy of a patient: epsilon 3.25 at most" in said
    assert "delta 1e-06" in said
    assert "the unit is a patient with all her images" in said
    assert "Not covered: how many examples" in said
    seen = "the sum of the sites' weight updates alone" if is_masked else "each site's weight update"
    assert seen in said


def test_a_site_that_does_not_tell_its_epsilon_is_rejected_and_one_that_tells_it_unasked_too(
    found_federation: Make,
) -> None:
    federation = found_federation(plan=small_plan(1))
    federation["bergen"].epsilon = 2.0

    federation.run()

    state, reason = federation.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert "privacy spent" in (reason or "")
    assert federation.answer_of("cork", 1)[0] is AnswerState.ADMITTED
