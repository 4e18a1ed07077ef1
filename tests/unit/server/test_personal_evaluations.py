"""What sites tell of models of their own: admitted where it was asked for and can be, shown side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.admission import read_answer
from server.measure_tables import OWN_MODELS, measure_tables
from server.run_document import run_document
from server.summary import summarize
from shared.errors import AdmissionError
from shared.evaluation.records import Evaluation, Moments, SegmentMoments
from shared.plan import PersonalisationPlan
from shared.records import CONTRIBUTION_TYPE, Contribution, Occasion, Phase
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.unit.server.simulated_federation import (
    EVALUATION,
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    small_plan,
)

KEY = SigningKey.generate()
OCCASION = Occasion(
    run_id="run-1",
    plan_sha256="a" * 64,
    round_number=3,
    attempt=1,
    phase=Phase.EVALUATE,
    site_id="site-1",
    base_digest="b" * 64,
)


def dice(mean: float, num_examples: int = 8) -> Evaluation:
    moments = Moments(num_images=num_examples, mean=mean, variance=0.0)
    return Evaluation(
        num_examples=num_examples, dice=SegmentMoments(dense=moments, breast=None, pectoral=None)
    )


def answer(evaluation: Evaluation | None, personal: Evaluation | None) -> bytes:
    contribution = Contribution(
        occasion=OCCASION,
        num_examples=0,
        update=None,
        num_clipped=0,
        train_loss=None,
        evaluation=evaluation,
        duration_s=10.0,
        checkpoint="-",
        personal_evaluation=personal,
        appearance=None,
        masking=None,
        epsilon=None,
    )
    return sign(CONTRIBUTION_TYPE, contribution.to_bytes(), KEY).to_bytes()


def read(envelope: bytes, *, personal: bool = True) -> Contribution:
    found = read_answer(envelope, OCCASION, KEY.verify_key, asked=("dice",), personal=personal)
    assert isinstance(found, Contribution)
    return found


def test_what_a_site_tells_of_its_own_model_is_read_where_it_was_asked_for() -> None:
    assert read(answer(dice(0.7), dice(0.8))).personal_evaluation == dice(0.8)
    assert read(answer(dice(0.7), None), personal=False).personal_evaluation is None


@pytest.mark.parametrize(
    ("evaluation", "personal", "asked", "reason"),
    [
        (dice(0.7), dice(0.8), False, "nobody asked for"),
        (None, dice(0.8), True, "nobody asked for"),
        (dice(0.7), dice(0.8, 7), True, "over other images"),
        (dice(0.7), dice(1.2), True, "a mean that no image could have"),
        (dice(0.7), dice(0.8).model_copy(update={"loss": dice(1.0).dice.dense}), True, "not asked for"),
    ],
)
def test_what_cannot_be_true_of_a_sites_own_model_is_rejected(
    evaluation: Evaluation | None, personal: Evaluation, asked: bool, reason: str
) -> None:
    with pytest.raises(AdmissionError, match=reason):
        read(answer(evaluation, personal), personal=asked)


def test_a_run_shows_each_sites_own_model_beside_the_common_one(tmp_path: Path) -> None:
    own = PersonalisationPlan(layers="norms")
    plan = small_plan(1).model_copy(update={"personalisation": own})
    federation = SimulatedFederation(tmp_path / "home", plan)
    better = EVALUATION.model_copy(update={"dice": None})

    def personalise(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is not Phase.EVALUATE:
            return honest(site, asked)
        told = site.contribution(asked, None).model_copy(update={"personal_evaluation": better})
        return site.signed(told)

    federation["bergen"].does(personalise)

    federation.run()

    summary = summarize(federation.coordinator.runs.get(RUN_ID), federation.coordinator)
    assert {part.site: part.personal for part in summary.test.parts} == {
        "aarhus": None,
        "bergen": better,
        "cork": None,
    }
    (in_json,) = [
        part for part in run_document(summary, federation.coordinator)["test"] if part["site"] == "bergen"
    ]
    assert in_json["personal"]["num_examples"] == in_json["evaluation"]["num_examples"]
    assert OWN_MODELS in [table.title for table in measure_tables(summary.test)]
