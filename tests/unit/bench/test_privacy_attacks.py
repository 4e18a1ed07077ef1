"""Attackers find what is there to be found, and guess where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.privacy_audit.figures import (
    area_under_curve,
    correlation,
    true_positive_rate,
    with_interval,
)
from bench.privacy_audit.image_values import Telling, attack_image_values
from bench.privacy_audit.inversion import (
    Descent,
    cosine_distance,
    invert,
    similarity,
    smooth_sign,
    tissue_guess,
    total_variation,
)
from bench.privacy_audit.membership import likelihood_ratios, members_of_models, rates
from bench.privacy_audit.properties import read_by_ridge, tilted_choice
from client.policy.policy import EgressTable

RULES = EgressTable()


def random_pictures(num_images: int, size: int = 16) -> torch.Tensor:
    return torch.rand((num_images, 1, size, size), generator=torch.Generator().manual_seed(3))


def test_the_gradient_of_one_layer_gives_its_input_back() -> None:
    # Of a linear layer with loss z, the gradient of row k is z's by k times the input.
    original = 0.2 + random_pictures(1, size=8) / 2
    layer = nn.Linear(64, 5)
    towards = torch.arange(1.0, 6.0)

    def gradient(picture_N1HW: torch.Tensor) -> list[torch.Tensor]:
        loss = (layer(picture_N1HW.flatten()) * towards).sum()
        return list(torch.autograd.grad(loss, [layer.weight], create_graph=True))

    seen = [tensor.detach() for tensor in gradient(original)]
    assert torch.allclose(seen[0][4], 5 * original.flatten())
    found = invert(
        seen,
        gradient,
        torch.full_like(original, 0.5),
        torch.ones_like(original),
        descent=Descent(
            num_steps=80, learning_rate=0.1, total_variation=0.0, distance=0.0, smoothness_px=0.3
        ),
    )

    # A cosine does not know how bright the picture is: white has room above it.
    assert correlation(found.numpy().ravel(), original.numpy().ravel()) > 0.99


def test_noise_in_place_of_a_gradient_gives_nothing_back() -> None:
    original, layer = random_pictures(1, size=8), nn.Linear(64, 5)

    def gradient(picture_N1HW: torch.Tensor) -> list[torch.Tensor]:
        return list(
            torch.autograd.grad(layer(picture_N1HW.flatten()).sum(), [layer.weight], create_graph=True)
        )

    noise = [torch.randn((5, 64), generator=torch.Generator().manual_seed(9))]
    descent = Descent(num_steps=40, total_variation=0.0, distance=0.0, smoothness_px=0.3)
    found = invert(
        noise, gradient, torch.full_like(original, 0.5), torch.ones_like(original), descent=descent
    )

    assert abs(correlation(found.numpy().ravel(), original.numpy().ravel())) < 0.4


def test_the_cosine_distance_is_0_for_the_same_direction_1_for_none_and_2_for_the_opposite() -> None:
    along, across = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])

    assert cosine_distance([along, across], [2 * along, 5 * across]).item() == pytest.approx(0)
    assert cosine_distance([along], [across]).item() == pytest.approx(1)
    assert cosine_distance([along, across], [-along, -across]).item() == pytest.approx(2)
    # Each tensor counts alike, however long: one agrees, one is opposite.
    assert cosine_distance([along, across], [100 * along, -across]).item() == pytest.approx(1)


def test_variation_at_the_edge_of_the_breast_is_not_counted() -> None:
    picture = torch.zeros((1, 1, 2, 3))
    picture[..., :2] = 1.0
    inside = torch.zeros_like(picture)
    inside[..., :2] = 1.0

    assert total_variation(picture, inside).item() == 0
    # Of the two by two steps from column to column, two are of height 1.
    assert total_variation(picture, torch.ones_like(picture)).item() == pytest.approx(0.5)


def test_a_smooth_sign_is_nearly_the_sign_of_what_is_not_near_zero() -> None:
    (steps,) = smooth_sign([torch.tensor([10.0, -10.0, 0.0])], softness=0.1)

    # The root mean square is sqrt(200 / 3) = 8.165; 10 / sqrt(100 + 0.6667) = 0.9967.
    assert steps.tolist() == pytest.approx([0.9967, -0.9967, 0.0], abs=1e-4)


def test_the_guess_has_the_grey_that_each_tissue_has_in_others() -> None:
    known = torch.tensor([[[[0.2, 0.4], [0.8, 0.0]]]])
    known_labels = torch.tensor([[[1, 1], [2, 0]]])

    guess = tissue_guess(torch.tensor([[[2, 1], [0, 1]]]), known, known_labels)

    assert guess.flatten().tolist() == pytest.approx([0.8, 0.3, 0.0, 0.3])


def test_only_the_breast_counts_for_likeness() -> None:
    original, inside = random_pictures(1, size=32), torch.zeros((1, 1, 32, 32))
    inside[..., :16] = 1.0
    other = original.clone()
    other[..., 24:] = 0.0  # further out than any window that is centred inside reaches

    assert similarity(original, original, inside) == pytest.approx([1.0])
    assert similarity(other, original, inside) == pytest.approx([1.0])
    assert similarity(1 - original, original, inside)[0] < 0


def test_scores_at_random_find_as_many_true_as_false_ones() -> None:
    random = np.random.default_rng(1)
    scores, truths = random.normal(size=40_000), random.random(40_000) < 0.5

    assert true_positive_rate(scores, truths) == pytest.approx(0.01, abs=0.003)
    assert area_under_curve(scores, truths) == pytest.approx(0.5, abs=0.01)


def test_the_rate_at_one_percent_is_that_of_the_highest_threshold_that_one_of_a_hundred_passes() -> None:
    others, true = np.arange(100.0), np.array([50.5, 98.5, 98.2, 200.0])
    scores = np.concatenate([others, true])
    truths = np.arange(104) >= 100

    # One of 100 others, 99, may pass; the next, 98, may not: three of four lie above 98.
    assert true_positive_rate(scores, truths) == 0.75
    # Without others to spare none may pass.
    assert true_positive_rate(scores[50:], truths[50:]) == 0.25


def test_the_area_counts_pairs_and_ties_by_half() -> None:
    scores = np.array([1.0, 2.0, 2.0, 3.0])
    truths = np.array([False, False, True, True])

    # Pairs: 2 > 1, 2 = 2, 3 > 1, 3 > 2: three and a half of four.
    assert area_under_curve(scores, truths) == 3.5 / 4


def test_an_interval_of_a_mean_is_as_wide_as_its_standard_error() -> None:
    values = np.random.default_rng(5).normal(size=400)

    found = with_interval(lambda units: float(values[units].mean()), 400)

    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_every_woman_is_a_member_of_one_of_each_two_models_with_all_her_pictures() -> None:
    member_MP = members_of_models(6, ["a", "a", "b", "c", "b"], seed=2)

    assert member_MP.shape == (6, 5)
    assert (member_MP[::2] != member_MP[1::2]).all()
    assert (member_MP[:, 0] == member_MP[:, 1]).all()
    assert (member_MP[:, 2] == member_MP[:, 4]).all()


def test_a_likelihood_ratio_is_that_of_two_normal_distributions() -> None:
    # Two pictures, three pairs of models: a member's number is 1 lower. Levels of models do not count.
    member_MP = np.array([[True, False], [False, True]] * 3)
    lower_MP = np.array([[-0.6, 0.6], [0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [-0.4, 0.4], [0.5, -0.5]])
    level_MP = np.array([[3.0], [1.0], [4.0], [1.0], [5.0], [9.0]])

    ratios_MP = likelihood_ratios(lower_MP + level_MP, member_MP)

    # Model 0, picture 0, by the last two pairs: members -0.5 and -0.4, the rest 0.5 and 0.5. Spreads are over
    # both pictures: of members squares 0.005 and 0, of the rest 0 and 0.005, each with 4 - 2 degrees.
    spread = (0.005 / 2) ** 0.5
    expected = (-((-0.6 + 0.45) ** 2) + (-0.6 - 0.5) ** 2) / (2 * spread**2)
    assert ratios_MP[0, 0] == pytest.approx(expected)
    assert ((ratios_MP > 0) == member_MP).all()


def test_an_attacker_who_sees_membership_finds_it_and_one_who_does_not_guesses() -> None:
    random = np.random.default_rng(8)
    women = [f"woman-{number // 2}" for number in range(60)]
    member_MP = members_of_models(16, women, seed=4)
    noise_MP = random.normal(size=member_MP.shape)

    found, area = rates(likelihood_ratios(noise_MP - 6 * member_MP, member_MP), member_MP, women)
    guessed, guessed_area = rates(likelihood_ratios(noise_MP, member_MP), member_MP, women)

    assert found.value > 0.9
    assert area.low > 0.99
    assert guessed.value < 0.05
    assert guessed_area.value == pytest.approx(0.5, abs=0.06)


def test_noise_alone_favours_neither_members_nor_others_however_few_the_models() -> None:
    random, areas = np.random.default_rng(3), []
    for trial in range(40):
        member_MP = members_of_models(6, [f"woman-{number}" for number in range(40)], seed=trial)
        ratios_MP = likelihood_ratios(random.normal(size=member_MP.shape), member_MP)
        areas.append(area_under_curve(ratios_MP.ravel(), member_MP.ravel()))

    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_ridge_regression_reads_a_property_that_lies_along_one_direction() -> None:
    random = np.random.default_rng(6)
    direction_V = random.normal(size=500)

    def hospitals(count: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
        density_S = random.uniform(0, 80, count)
        noise_SV = random.normal(size=(count, 500))
        return noise_SV + strength * density_S[:, None] / 80 * direction_V, density_S

    seen_SV, seen_S = hospitals(40, 1.0)
    asked_SV, asked_S = hospitals(30, 1.0)
    blind_SV, blind_S = hospitals(40, 0.0)
    nothing_SV, nothing_S = hospitals(30, 0.0)

    assert correlation(read_by_ridge(seen_SV, seen_S, asked_SV), asked_S) > 0.95
    assert abs(correlation(read_by_ridge(blind_SV, blind_S, nothing_SV), nothing_S)) < 0.5


def test_ridge_regression_without_a_penalty_to_speak_of_is_a_straight_line() -> None:
    known_SV, known_S = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1.0, 3.0, 5.0, 7.0])

    said_S = read_by_ridge(known_SV, known_S, np.array([[10.0]]))

    assert said_S.tolist() == pytest.approx([21.0], rel=1e-4)


def test_a_tilted_hospital_has_women_of_one_kind() -> None:
    densities, random = np.linspace(0, 80, 40), np.random.default_rng(7)

    means = [densities[tilted_choice(densities, 8, random)].mean() for _ in range(60)]

    # As many as it has drawn without a tilt would scatter by 23.7 / sqrt(8) = 8.4.
    assert np.std(means) > 15


def test_differencing_of_statistics_is_refused_and_four_sets_are_not() -> None:
    dice = np.random.default_rng(4).uniform(0.3, 0.9, 24).tolist()

    naive, told, few, known, four = attack_image_values(dice, RULES)

    assert naive.error == pytest.approx(0, abs=1e-9)
    assert told.error is None
    assert (few.error, few.answer) == (None, "nothing told")
    assert known.error == pytest.approx(0, abs=1e-9)
    # Held here so that the report goes on saying it: pairs of sets are looked at, combinations are not.
    assert four.error == pytest.approx(0, abs=1e-9)


def test_a_site_tells_the_same_mean_again_until_enough_has_changed() -> None:
    values = {f"image-{number}": number / 20 for number in range(20)}
    site = Telling(values, RULES)
    first = site.mean(list(values)[:10])

    assert first == site.mean(list(values)[:14])
    # Of 0, 0.05, ... to 0.7.
    enough = site.mean(list(values)[:15])
    assert enough is not None
    assert (enough.num_images, enough.mean) == (15, pytest.approx(0.35))
