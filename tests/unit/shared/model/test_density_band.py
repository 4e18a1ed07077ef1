from __future__ import annotations

import math

import pytest
import torch

from shared.bands import BANDS, CUT_POINTS_PERCENT
from shared.model import build_model
from shared.model.density_band import (
    SHARPNESS,
    UNKNOWN_BAND,
    DensityBand,
    DensityBandHead,
    band_loss,
    bands_of,
    log_probabilities,
    pool_features,
)
from shared.model.segmentation import segments_of
from shared.plan import ModelPlan

HALVES = ((slice(2), slice(4)), (slice(2, 4), slice(4, 8)))


def _bands(percents: list[float], head: DensityBandHead | None = None) -> torch.Tensor:
    head = head or DensityBandHead(8)
    return head(torch.tensor(percents), torch.rand(len(percents), 9, 1, 1))


def _logits(*above: float) -> torch.Tensor:
    return torch.tensor([above]).view(1, 3, 1, 1)


def test_probabilities_are_those_of_proportional_odds_worked_out_by_hand() -> None:
    # Odds of 3, 1 and 1/3 of lying above a, b and c: 3/4, 1/2 and 1/4 of lying above them.
    logits = _logits(math.log(3), 0.0, -math.log(3))

    assert log_probabilities(logits).exp()[0].tolist() == pytest.approx([0.25, 0.25, 0.25, 0.25])


def test_probabilities_sum_to_one_and_stay_finite_however_sure_the_head_is() -> None:
    for shift in (-80.0, -5.0, 0.0, 5.0, 80.0):
        log_probability = log_probabilities(_logits(shift + 2, shift, shift - 2))[0]
        assert log_probability.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
        assert bool(torch.isfinite(log_probability).all())


def test_features_are_pooled_over_the_breast_alone_and_windows_of_an_image_add_up() -> None:
    coarsest_NCHW = torch.arange(16.0).view(1, 2, 2, 4)
    breast_NHW = torch.zeros(1, 4, 8, dtype=torch.bool)
    breast_NHW[:, :2, 1:4] = True  # half of the first cell, and the second one

    whole = pool_features(coarsest_NCHW, breast_NHW)
    halves = [pool_features(coarsest_NCHW[..., half], breast_NHW[..., wide]) for half, wide in HALVES]

    # Features 0 and 1 weighed by 1/2 and 1, then 8 and 9; of eight cells.
    assert whole.flatten().tolist() == pytest.approx([1 / 8, 13 / 8, 1.5 / 8])
    torch.testing.assert_close(torch.stack(halves).mean(dim=0), whole)
    head = DensityBandHead(2)
    with torch.no_grad():
        head.feature_weights_C.copy_(torch.tensor([0.3, -0.2]))
    percent_density_1 = torch.tensor([20.0])
    torch.testing.assert_close(head(percent_density_1, whole), head(percent_density_1, 0.5 * whole))
    assert bool(torch.isfinite(head(percent_density_1, torch.zeros_like(whole))).all())  # no breast


def test_before_any_category_the_head_has_the_uncalibrated_cut_points() -> None:
    for percent, thresholds in zip(CUT_POINTS_PERCENT, range(3), strict=True):
        logits = _bands([percent])[0, :, 0, 0]
        assert logits[thresholds].item() == pytest.approx(0.0, abs=1e-5)
    assert [one.band for one in bands_of(_bands([2.0, 14.0, 32.0, 70.0]))] == list(BANDS)
    above_a = _bands([21.0])[0, 0, 0, 0].item()
    assert above_a == pytest.approx(SHARPNESS * (math.log1p(21) - math.log1p(8)), rel=1e-5)


def test_cut_points_keep_their_order_whatever_is_learnt() -> None:
    head = DensityBandHead(8)
    with torch.no_grad():
        head.cut_points_K.copy_(torch.tensor([2.0, -9.0, -9.0]))

    logits = _bands([1.0, 20.0, 90.0], head)[:, :, 0, 0]

    assert bool((logits[:, 0] > logits[:, 1]).all())
    assert bool((logits[:, 1] > logits[:, 2]).all())


def test_the_loss_is_the_mean_over_known_categories_alone() -> None:
    logits = _logits(math.log(3), 0.0, -math.log(3)).repeat(3, 1, 1, 1).requires_grad_()

    loss = band_loss(logits, torch.tensor([UNKNOWN_BAND, 2, 0]))
    loss.backward()

    assert loss.item() == pytest.approx(math.log(4))
    assert not logits.grad[0].any()
    assert logits.grad[1].any()


def test_without_a_category_there_is_no_loss_and_no_gradient() -> None:
    logits = _logits(1.0, 0.0, -1.0).requires_grad_()

    loss = band_loss(logits, torch.tensor([UNKNOWN_BAND]))
    loss.backward()

    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_cut_points_and_sharpness_are_found_from_readers_who_see_bands_elsewhere() -> None:
    # Readers who change from one band to the next at half the percent density of the start, and surely.
    generator = torch.Generator().manual_seed(0)
    percents = torch.rand(400, generator=generator) * 60
    bands = torch.bucketize(percents, torch.tensor([4.0, 11.0, 22.0]))
    head = DensityBandHead(8)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=1e-2)
    features = torch.zeros(400, 9, 1, 1)
    before = band_loss(head(percents, features), bands).item()

    for _ in range(150):
        optimizer.zero_grad()
        band_loss(head(percents, features), bands).backward()
        optimizer.step()

    assert band_loss(head(percents, features), bands).item() < 0.4 * before
    assert [one.band for one in bands_of(_bands([2.0, 7.0, 16.0, 40.0], head))] == list(BANDS)


def test_a_band_that_is_not_likely_enough_is_to_be_read_a_second_time() -> None:
    sure = DensityBand(probabilities=(0.02, 0.9, 0.07, 0.01))
    unsure = DensityBand(probabilities=(0.0, 0.45, 0.5, 0.05))

    assert (sure.band, sure.is_borderline) == ("b", False)
    assert (unsure.band, unsure.is_borderline) == ("c", True)


def test_the_score_of_probabilities_is_worked_out_by_hand_and_grows_with_the_distance() -> None:
    said = DensityBand(probabilities=(0.1, 0.6, 0.2, 0.1))

    # Above a, b and c lie 0.9, 0.3 and 0.1; so does a reader's b by 1, 0 and 0.
    assert said.ranked_probability_score("b") == pytest.approx((0.1**2 + 0.3**2 + 0.1**2) / 3)
    assert said.expected_place == pytest.approx(1.3)
    sure = DensityBand(probabilities=(1.0, 0.0, 0.0, 0.0))
    assert [sure.ranked_probability_score(band) for band in BANDS] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_a_category_moves_the_head_and_nothing_else_of_the_network() -> None:
    network = build_model(ModelPlan(size="tiny", density_band="readers")).train()

    band_loss(network(torch.rand(2, 1, 64, 64))["band"], torch.tensor([0, 3])).backward()

    moved = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert moved == {"band_head.feature_weights_C", "band_head.cut_points_K", "band_head.sharpness"}
    assert all(bool(network.get_parameter(name).grad.any()) for name in moved)


def test_what_is_said_in_use_is_what_is_said_in_training() -> None:
    network = build_model(ModelPlan(size="tiny", density_band="readers"))
    image_NCHW = torch.rand(2, 1, 64, 64)

    with torch.no_grad():
        trained, used = network.train()(image_NCHW), network.eval()(image_NCHW)
        percent_density_N = segments_of(used).percent_density()
        torch.testing.assert_close(network.band_head(percent_density_N, used["features"]), trained["band"])

    assert "band" not in used
    assert used["features"].shape == (2, 129, 1, 1)
