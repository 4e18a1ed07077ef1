"""Runs under noise at the coordinator: what a site must tell of them, and what the model card says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from server.learning_curves import lines_of
from server.lifecycle import AnswerState, RunState
from server.model_card import write_model_card
from server.summary import summarize
from server.supplements import supplements_of
from shared.masking.site_noise import epsilon_of_a_site
from shared.plan import AggregationPlan, PatientNoisePlan, Plan, PrivacyPlan, SiteNoisePlan
from shared.supplements import SupplementKind
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


@pytest.fixture
def _tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    contribution = SimulatedSite.contribution

    def bare(site: SimulatedSite, asked: Asked, *arguments: object) -> object:
        told = contribution(site, asked, *arguments)  # type: ignore[arg-type]
        return told.model_copy(update={"train_loss": None, "evaluation": None})

    monkeypatch.setattr(SimulatedSite, "contribution", bare)


@pytest.mark.usefixtures("_tells_nothing")
@pytest.mark.parametrize("is_masked", [False, True])
def test_the_card_tells_the_largest_epsilon_with_its_unit_and_what_it_does_not_cover(
    found_federation: Make, is_masked: bool
) -> None:
    federation = found_federation(plan=noisy_plan(is_masked=is_masked))
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
        created_at="now",
        software="this",
    )
    said = " ".join(card.split())
    assert "Differential privacy of a patient: epsilon 3.25 at most" in said
    assert "delta 1e-06" in said
    assert "the unit is a patient with all her images" in said
    assert "Not covered: how many examples" in said
    seen = "the sum of the sites' weight updates alone" if is_masked else "each site's weight update"
    assert seen in said
    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    told = supplements_of(federation.coordinator, model)[SupplementKind.PRIVACY].content
    assert "epsilon 3.25 at most" in "\n".join(told.lines)


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


def site_noise_plan(multiplier: float = 0.5) -> Plan:
    plan = small_plan(2, quorum=3)
    return plan.model_copy(
        update={
            "metrics": (),
            "aggregation": AggregationPlan(max_update_norm=50.0),
            "privacy": PrivacyPlan(
                secure_aggregation="on", site_noise=SiteNoisePlan(multiplier=multiplier, delta=1e-5)
            ),
        }
    )


@pytest.mark.usefixtures("_tells_nothing")
def test_under_site_noise_the_aggregate_is_the_mean_of_all_alike_and_noise_of_the_plans_length(
    found_federation: Make,
) -> None:
    plan = site_noise_plan()
    federation = found_federation(plan=plan)

    federation.run()

    assert federation.state is RunState.FINISHED
    asked = federation["cork"].trained[1]
    assert asked.terms is not None
    assert (asked.terms.weight, asked.terms.total) == (1, 3)
    made = federation.weights(federation.aggregate_of(1))
    base = federation.weights(federation.coordinator.runs.rounds(RUN_ID)[0].base)
    updates = [federation[name].train(federation[name].trained[1]) for name in ("aarhus", "bergen", "cork")]
    noise = np.concatenate(
        [
            (made[name] - base[name] - sum(update[name] for update in updates) / 3).flatten().numpy()
            for name in updates[0]
        ]
    )
    # Of the reach of one of three sites, and a little for what rounding adds to it.
    assert noise.std() == pytest.approx(0.5 * 50 / 3, rel=0.05)


@pytest.mark.usefixtures("_tells_nothing")
def test_the_card_tells_a_sites_epsilon_and_for_how_many_helpers_it_holds(found_federation: Make) -> None:
    federation = found_federation(plan=site_noise_plan(multiplier=3.0))
    federation.run()

    card = write_model_card(
        "m",
        summarize(federation.coordinator.runs.get(RUN_ID), federation.coordinator),
        lines_of(federation.coordinator, RUN_ID),
        federation.plan,
        created_at="now",
        software="this",
    )

    said = " ".join(card.split())
    epsilon = epsilon_of_a_site(2, multiplier=3.0, delta=1e-5)
    assert f"Differential privacy of a site: epsilon {epsilon:.2f} at most over the 2 rounds" in said
    assert "while 0 sites at most help the coordinator" in said


@pytest.mark.usefixtures("_tells_nothing")
def test_a_round_that_is_tried_again_adds_the_same_noise(found_federation: Make) -> None:
    """The sum of the second attempt is the one that the first would have come to."""
    federation = found_federation(plan=site_noise_plan())
    federation.channel.breaks_in_round, federation.channel.num_asked_before = 1, 9  # amid the signatures
    with pytest.raises(ConnectionError):
        federation.run()
    keys = {name: federation[name].kept[1].noise_key for name in ("aarhus", "bergen", "cork")}

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert {name: federation[name].kept[1].noise_key for name in keys} == keys
