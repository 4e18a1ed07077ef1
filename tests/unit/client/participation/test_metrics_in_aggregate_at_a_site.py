"""A real site under a plan that lets metrics out in aggregate only, beside two that a test speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

import client.evaluation.evaluator
import client.participation
from client.catalog import Catalog
from client.consenting import Consenting
from client.home import SiteHome
from client.participation import take_part
from client.plan_view import view_plan
from client.store.ledger import Rule
from client.workplace import Workplace
from shared.evaluation.pooling import pool
from shared.evaluation.records import EVALUATED, Evaluation, Moments, SegmentMoments
from shared.evaluation.sums import num_numbers, rows_of, together
from shared.evaluation.together import Together
from shared.masking.metric_words import from_text, to_numbers, to_words
from shared.masking.records import SharesAsked, SurvivorsAsked
from shared.masking.streams import EVALUATION_TERMS
from shared.plan import MetricName, PersonalisationPlan, PrivacyPlan
from shared.records import Announcement, Contribution, Phase, Refusal, metrics_asked
from tests.unit.client.participation.conftest import (
    PLAN,
    POLICY,
    SITE_ID,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)
from tests.unit.client.participation.test_masked_part import OTHERS, MaskedAttempt, grid_of
from tests.unit.client.participation.test_no_more_than_approved import other_weights
from tests.unit.client.participation.test_take_part import read

RUN_ID = "run-summed"
SUMMED = PLAN.model_copy(update={"privacy": PrivacyPlan(secure_aggregation="on", metrics="in_aggregate")})
BESIDE = Evaluation(
    num_examples=20,
    loss=Moments(num_images=20, mean=0.25, variance=0.5),
    dice=SegmentMoments(
        dense=Moments(num_images=20, mean=0.5, variance=0.125),
        breast=Moments(num_images=12, mean=0.75, variance=0.0625),
        pectoral=None,
    ),
)
"""What one of the other sites tells; the third has nothing to tell."""
BESIDE_LOSS = (16, 0.5)


@dataclass(slots=True, kw_only=True)
class SummedAttempt(MaskedAttempt):
    """One attempt at round 1, or at the evaluation of the final weights."""

    phase: Phase = Phase.TRAIN
    words: NDArray[np.uint64] = field(init=False)

    def begin(self) -> SummedAttempt:
        self.words = np.zeros(num_numbers(self.asked), np.uint64)
        if self.phase is Phase.EVALUATE:
            self.common = self.round_.common = EVALUATION_TERMS
        self.share()
        return self

    @property
    def asked(self) -> Sequence[MetricName]:
        return metrics_asked(self.phase, SUMMED.metrics)

    def announcement(self, phase: Phase, **changes: object) -> Announcement:
        document = {"run_id": RUN_ID, **changes}
        if self.phase is Phase.EVALUATE:
            document = {"round_number": SUMMED.evaluation_number, "base": other_weights(1.5), **document}
        return MaskedAttempt.announcement(self, phase, **document)

    def tell(self) -> Contribution:
        """Up to where everybody has sent something under the masks; the real site's contribution."""
        told = self.ask(self.phase, Contribution)
        assert told.masked_metrics is not None
        self.words += from_text(told.masked_metrics)
        self.round_.take_masked(SITE_ID)
        for place, (site, party) in enumerate(self.others.items()):
            asked = self.round_.asked(self.phase, site)
            assert isinstance(asked, SharesAsked)
            mask = party.mask(asked, update_sha256="0" * 64, common=self.common)
            if self.phase is Phase.TRAIN:
                for block in grid_of(SUMMED).blocks():
                    mask.words(block.size)
            rows = rows_of(
                self.asked,
                train_loss=BESIDE_LOSS if place == 0 else None,
                evaluation=BESIDE if place == 0 else None,
                appearance=None,
            )
            self.words += to_words(rows, num_sites=3) + mask.long_words(self.words.size)
            self.round_.take_masked(site)
        self.round_.close(self.phase)
        return told

    def read_sum(self) -> Together:
        """The rest of the attempt; what all tell together."""
        self.reveal()
        mask = self.round_.mask_of_sum()
        if self.phase is Phase.TRAIN:
            for block in grid_of(SUMMED).blocks():
                mask.words(block.size)
        bare = self.words - mask.long_words(self.words.size)
        return together(self.asked, to_numbers(bare), num_sites=3)

    def measured(self) -> Evaluation:
        """What the site has measured, as far as it was asked for."""
        number = self.announcement(self.phase).occasion.round_number
        (kept,) = (
            each
            for each in self.workplace.evaluator.kept.of_run(RUN_ID)
            if (each.round_number, each.phase) == (number, self.phase)
        )
        unasked = {name: None for name in EVALUATED if name not in self.asked}
        return kept.evaluation.model_copy(update=unasked)


@pytest.fixture
def summed(coordinator: MinimalCoordinator, workplace: Workplace, home: SiteHome) -> SummedAttempt:
    """The first attempt at round 1, at a site with several images in each part."""
    with Catalog.open(home.folder) as catalog:
        for seed in range(6, 30):
            add_example(catalog, patient=f"patient-{seed}", seed=seed)
    coordinator.approve(SUMMED, run_id=RUN_ID)
    return SummedAttempt(coordinator=coordinator, workplace=workplace, plan=SUMMED)


@pytest.fixture
def final(summed: SummedAttempt) -> SummedAttempt:
    """The first attempt at the evaluation of the final weights."""
    return SummedAttempt(
        coordinator=summed.coordinator, workplace=summed.workplace, plan=SUMMED, phase=Phase.EVALUATE
    )


def assert_pooled(found: Together, told: Evaluation) -> None:
    expected = pool([told, BESIDE])
    assert expected is not None
    assert found.evaluation is not None
    for moments, of_sites in (
        (found.evaluation.loss, expected.loss),
        (found.evaluation.dice and found.evaluation.dice.dense, expected.dice and expected.dice.dense),
        (found.evaluation.dice and found.evaluation.dice.breast, expected.dice and expected.dice.breast),
    ):
        assert moments is not None
        assert of_sites is not None
        assert moments.num_images == of_sites.num_images
        assert moments.mean == pytest.approx(of_sites.mean, abs=1e-8)
        assert moments.variance == pytest.approx(of_sites.variance, abs=1e-7)
    assert found.evaluation.percent_density is None  # the site alone tells it


def test_the_sums_of_a_round_are_those_of_the_sites_own_statistics_which_never_leave(
    summed: SummedAttempt,
) -> None:
    told = summed.begin().tell()

    found = summed.read_sum()

    assert (told.train_loss, told.evaluation, told.appearance) == (None, None, None)
    assert_pooled(found, summed.measured())
    record = summed.workplace.records.find(summed.announcement(Phase.TRAIN))
    assert record is not None
    assert record.evaluation is not None
    assert record.evaluation.num_examples >= 2
    count, loss = record.training.num_examples, record.training.loss
    assert found.train_loss == pytest.approx((count * loss + 16 * 0.5) / (count + 16), abs=1e-8)


def test_the_sums_of_the_final_weights_are_those_of_the_sites_own_statistics(final: SummedAttempt) -> None:
    told = final.begin().tell()

    found = final.read_sum()

    assert (told.num_examples, told.update, told.evaluation) == (0, None, None)
    assert_pooled(found, final.measured())


def test_the_ledger_names_statistics_under_a_mask_and_no_statistic(summed: SummedAttempt) -> None:
    summed.begin().tell()

    (line,) = (
        each
        for each in ledger_rows(summed.coordinator.home)
        if (each.kind, each.phase) == ("contribution", "train")
    )

    assert line.rule == Rule.STATISTICS_UNDER_A_MASK
    assert "masked_metrics" in line.names
    assert not any(name.startswith(("evaluation", "train_loss", "appearance")) for name in line.names)


def test_a_plan_view_says_that_metrics_leave_in_aggregate_only(summed: SummedAttempt) -> None:
    with Consenting(summed.coordinator.home) as consenting:
        view = view_plan(RUN_ID, consenting, summed.workplace.catalog, summed.workplace.membership).to_json()

    words = view["leaves"]["values"]
    assert words["evaluation"].endswith("in aggregate only")
    assert "sums of all sites alone" in words["masked_metrics"]


def test_what_leaves_of_metrics_is_even_noise(final: SummedAttempt, summed: SummedAttempt) -> None:
    words = [from_text(each.begin().tell().masked_metrics or "") for each in (summed, final)]

    values = np.concatenate(words).view(np.uint8)
    counts, expected = np.bincount(values, minlength=256), values.size / 256
    assert expected > 8
    assert 160 < float(((counts - expected) ** 2 / expected).sum()) < 365  # 255 degrees of freedom


def test_another_attempt_at_the_evaluation_tells_the_same_sum_and_measures_nothing(
    final: SummedAttempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    final.begin().tell()
    first = final.read_sum()

    def measure(*_arguments: object, **_options: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(client.evaluation.evaluator, "evaluate_images", measure)
    again = SummedAttempt(
        coordinator=final.coordinator,
        workplace=final.workplace,
        plan=SUMMED,
        phase=Phase.EVALUATE,
        number=2,
    )
    again.begin().tell()

    assert again.read_sum() == first


def test_differencing_other_metrics_beside_the_same_update_are_not_signed(summed: SummedAttempt) -> None:
    """Two sums over the same sites would differ by what this one has kept in between."""
    summed.begin().tell()
    summed.read_sum()
    summed.coordinator.home.policy_file.write_text(POLICY.replace("smallest_count = 1", "smallest_count = 9"))
    second = SummedAttempt(coordinator=summed.coordinator, workplace=summed.workplace, plan=SUMMED, number=2)
    second.begin().tell()

    assert second.ask(Phase.SURVIVORS, Refusal).reason == "MaskingError"


def test_differencing_a_second_evaluation_over_fewer_sites_is_not_signed(final: SummedAttempt) -> None:
    final.begin().tell()
    final.read_sum()
    second = SummedAttempt(
        coordinator=final.coordinator,
        workplace=final.workplace,
        plan=SUMMED,
        phase=Phase.EVALUATE,
        number=2,
    )
    second.begin().tell()

    fewer = SurvivorsAsked(survivors=(SITE_ID, OTHERS[0]))
    assert second.ask(Phase.SURVIVORS, Refusal, masking=fewer).reason == "MaskingError"


def test_two_time_pad_one_mask_is_for_one_set_of_metrics(summed: SummedAttempt) -> None:
    summed.begin()
    summed.ask(Phase.TRAIN, Contribution)
    summed.coordinator.home.policy_file.write_text(POLICY.replace("smallest_count = 1", "smallest_count = 9"))

    assert summed.ask(Phase.TRAIN, Refusal).reason == "MaskingError"


def test_singling_out_a_site_tells_all_metrics_of_a_sum_or_none(summed: SummedAttempt) -> None:
    """Asked for what the others are not asked for, it would be alone in the sum."""
    summed.begin()

    refusal = summed.ask(Phase.TRAIN, Refusal, metrics=("dice",))

    assert refusal.reason == "NotApprovedError"


def test_downgrade_an_evaluation_that_is_asked_without_masks_gets_nothing(final: SummedAttempt) -> None:
    final.begin()

    assert final.ask(Phase.EVALUATE, Refusal, masking=None).reason == "NotApprovedError"
    under_the_last_rounds_number = {"masking": None, "round_number": SUMMED.rounds.count}
    assert final.ask(Phase.EVALUATE, Refusal, **under_the_last_rounds_number).reason == "NotApprovedError"


def test_a_site_that_lets_metrics_out_in_aggregate_only_computes_nothing_for_another_plan(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.home.policy_file.write_text(f'{POLICY}privacy.metrics = "in_aggregate"\n')

    def train(*_arguments: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(client.participation, "train_round", train)
    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    refusal = read(answer, Refusal, coordinator.home)
    assert (refusal.reason, refusal.rules) == ("PolicyError", ("privacy.metrics",))


def test_of_a_sites_own_model_nothing_is_told_in_aggregate(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    own = SUMMED.model_copy(update={"personalisation": PersonalisationPlan(layers="norms", epochs=1)})
    coordinator.approve(own, run_id=RUN_ID)
    attempt = SummedAttempt(coordinator=coordinator, workplace=workplace, plan=own, phase=Phase.EVALUATE)

    told = attempt.begin().tell()

    assert told.personal_evaluation is None
    assert len(told.masked_metrics or "") == 16 * num_numbers(attempt.asked)
