"""Runs under noise at the coordinator: what a site must tell of them, and what the model card says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from server.lifecycle import AnswerState, RunState
from server.registry import release
from server.store.models import Release
from server.supplements import supplements_of
from shared.errors import AggregationError
from shared.masking.site_noise import epsilon_of_a_site
from shared.package import MODEL_CARD
from shared.persons.roles import Role
from shared.plan import AggregationPlan, PatientNoisePlan, Plan, PrivacyPlan, SiteNoisePlan
from shared.supplements import SupplementKind
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    go_offline,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
NOISE = PatientNoisePlan(multiplier=1.5, gradient_norm=0.5, delta=1e-6)


def noisy_plan(*, is_masked: bool = False) -> Plan:
    privacy = PrivacyPlan(patient_noise=NOISE, secure_aggregation="on" if is_masked else "off")
    return small_plan(2).model_copy(update={"metrics": (), "privacy": privacy})


def card_of(federation: SimulatedFederation) -> str:
    """The model card, as it was published."""
    coordinator = federation.coordinator
    model = coordinator.models.of_run(RUN_ID)
    assert model is not None
    (card,) = [file.blob for file in coordinator.models.files(model.model_id) if file.name == MODEL_CARD]
    return coordinator.blobs.path(card.digest).read_text()


@pytest.fixture
def _tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    contribution = SimulatedSite.contribution

    def bare(site: SimulatedSite, asked: Asked, *arguments: object, **options: object) -> object:
        told = contribution(site, asked, *arguments, **options)  # type: ignore[arg-type]
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
    card = card_of(federation)
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


@pytest.mark.usefixtures("_tells_nothing")
def test_a_model_of_a_plan_with_noise_is_released_without_what_no_site_could_tell(
    found_federation: Make,
) -> None:
    federation = found_federation(plan=noisy_plan())
    for name in ("aarhus", "bergen", "cork"):
        federation[name].epsilon = 1.5
    federation.run()
    coordinator = federation.coordinator
    model = coordinator.models.of_run(RUN_ID)
    assert model is not None
    for name in ("ada", "bob"):
        coordinator.persons.add(name, Role.ADMINISTRATOR, actor="test", at=model.created_at)

    release(coordinator, model.model_id, actor="person:ada")
    assert release(coordinator, model.model_id, actor="person:bob") is Release.RELEASED

    said = " ".join(card_of(federation).split())
    assert (
        "Not told, because under noise no site tells anything beside its update: Published models by" in said
    )
    assert "by its outline alone" in said


@pytest.mark.usefixtures("_tells_nothing")
def test_a_model_is_not_released_without_what_sites_could_have_told(found_federation: Make) -> None:
    federation = found_federation(plan=small_plan(1))
    federation.run()
    coordinator = federation.coordinator
    model = coordinator.models.of_run(RUN_ID)
    assert model is not None
    coordinator.persons.add("ada", Role.ADMINISTRATOR, actor="test", at=model.created_at)

    with pytest.raises(AggregationError, match="lacks: cross_site, fairness, calibration, limits"):
        release(coordinator, model.model_id, actor="person:ada")

    assert "Not told" not in card_of(federation)


@pytest.mark.usefixtures("_tells_nothing")
def test_the_card_counts_what_a_site_has_spent_that_was_gone_in_the_last_round(
    found_federation: Make,
) -> None:
    federation = found_federation(plan=noisy_plan())
    for name in ("aarhus", "bergen", "cork"):
        federation[name].epsilon = 1.5
    federation["bergen"].epsilon = 4.5
    federation["bergen"].does(go_offline, in_round=2)

    federation.run()

    assert federation.answer_of("bergen", 2)[0] is AnswerState.LOST
    assert "epsilon 4.50 at most" in " ".join(card_of(federation).split())


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

    card = card_of(federation)

    said = " ".join(card.split())
    epsilon = epsilon_of_a_site(2, multiplier=3.0, delta=1e-5)
    assert f"Differential privacy of a site: epsilon {epsilon:.2f} at most over the 2 rounds" in said
    assert "while 0 sites at most help the coordinator" in said
