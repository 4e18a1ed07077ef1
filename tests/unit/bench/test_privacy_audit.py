"""An audit tries each protection, says what its rows mean, and recommends by them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.learning import PatientExample
from bench.privacy_audit.audit import QUICK, Asked, Audit, audit, plan_of
from bench.privacy_audit.differencing import DifferencingRow, Sums, difference, refused_second_sum
from bench.privacy_audit.figures import Figure
from bench.privacy_audit.image_values import attack_image_values
from bench.privacy_audit.inversion_trials import InversionRow, Trial
from bench.privacy_audit.material import percent_density, phantoms, shared_out
from bench.privacy_audit.membership import MembershipRow
from bench.privacy_audit.properties import PropertyRow
from bench.privacy_audit.recommending import Verdict, recommend, verdicts
from bench.privacy_audit.releases import cosine, grid_of_later_rounds, released
from bench.privacy_audit.report import page, write
from bench.privacy_audit.settings import PLAIN, Setting, ladder
from client.imaging.example import Example, Label
from client.policy.policy import EgressTable

RULES = EgressTable()


def updates(count: int, *, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: 0.01 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        for _ in range(count)
    ]


SHAPES = {"bias": (10,), "kernel": (40, 50)}
BASE = {name: torch.full(shape, 0.02) for name, shape in SHAPES.items()}


def test_what_a_coordinator_holds_without_noise_is_the_mean_to_within_a_step_of_each_site() -> None:
    sent = updates(3)
    grid = grid_of_later_rounds(BASE, sent, share=1 / 3)

    mean = released(sent, Setting(num_sites=3), grid, clip_norm=0.0, seed=1)

    for name in SHAPES:
        expected = torch.stack([update[name] for update in sent]).mean(dim=0)
        assert 0 < (mean[name] - expected).abs().max() < 3 * grid.step(name)


def test_noise_has_the_spread_that_its_multiplier_says_and_updates_are_shortened_before() -> None:
    sent = updates(5)
    grid = grid_of_later_rounds(BASE, sent, share=1 / 5)
    # Shortened to little, so that noise is what is left.
    noise = released(sent, Setting(num_sites=5, noise_multiplier=1000.0), grid, clip_norm=1e-3, seed=2)

    # Multiplier times clip norm over sites, and what rounding moves: the root of all values' squared steps.
    rounding = sum(grid.size(name) * grid.step(name) ** 2 for name in SHAPES) ** 0.5
    expected = 1000 * (1e-3 / 5 + rounding)
    assert noise["kernel"].std().item() == pytest.approx(expected, rel=0.05)


def test_differencing_two_sums_without_noise_give_the_update_and_with_much_noise_nothing() -> None:
    sent = updates(4)
    grid = grid_of_later_rounds(BASE, sent, share=1 / 4)
    bare = Sums(setting=Setting(num_sites=4), grid=grid, clip_norm=1.0, seed=3)
    noisy = Sums(setting=Setting(num_sites=4, noise_multiplier=10.0), grid=grid, clip_norm=1.0, seed=3)

    assert bare.share_recovered(sent) == 1.0
    assert cosine(bare.left_over(sent[0]), sent[0]) > 0.999
    assert abs(cosine(noisy.left_over(sent[0]), sent[0])) < 3 / grid.num_values**0.5


def test_differencing_two_rounds_leaves_what_the_others_have_learnt_meanwhile() -> None:
    sent, grown = updates(3), updates(3, seed=1)
    grid = grid_of_later_rounds(BASE, [*sent, *grown], share=1 / 3)
    sums = Sums(setting=Setting(num_sites=3), grid=grid, clip_norm=1.0, seed=3)

    same = difference(sums.of(sent), sums.without_first(sent[1:]))
    other = difference(sums.of(sent), sums.without_first(grown[1:]))

    assert cosine(same, sent[0]) > 0.999
    # One of five updates of one length that have nothing in common: 1 / sqrt(5).
    assert cosine(other, sent[0]) == pytest.approx(5**-0.5, abs=0.06)


def test_differencing_the_products_own_register_refuses_a_second_sum() -> None:
    assert "second sum of one round" in refused_second_sum()


NOISES = {0.0: 1.0, 0.1: 0.8, 1.0: 0.7, 10.0: -2.0}
"""Multipliers, and what they leave of the learning."""
SETTINGS = [Setting(num_sites=5, noise_multiplier=noise) for noise in NOISES]


def figure(value: float) -> Figure:
    return Figure(value=value, low=value - 0.05, high=value + 0.05)


def inversion_rows(*gains: float) -> list[InversionRow]:
    image = np.zeros((4, 4), np.float32)
    return [
        InversionRow(
            trial=Trial(start="crafted", sent="update", setting=setting),
            similarity=0.4 + gain,
            guess_similarity=0.4,
            gain=(gain, gain),
            pictures=(image, image, image),
        )
        for setting, gain in zip(SETTINGS, gains, strict=True)
    ]


def membership_rows(*areas: float) -> list[MembershipRow]:
    return [
        MembershipRow(
            setting=setting,
            found=figure(0.01),
            area=figure(area),
            num_members=200,
            num_others=200,
            learning_left=NOISES[setting.noise_multiplier],
        )
        for setting, area in zip(SETTINGS, areas, strict=True)
    ]


def property_rows(*correlations: float) -> list[PropertyRow]:
    return [
        PropertyRow(
            setting=setting, one=figure(r), together=figure(r), error=1.0, guess_error=1.0, num_hospitals=9
        )
        for setting, r in zip(SETTINGS, correlations, strict=True)
    ]


def test_what_does_better_than_guessing_is_a_leak_and_the_least_noise_that_learns_is_recommended() -> None:
    found = verdicts(
        inversion_rows(0.3, 0.01, -0.02, -0.02),
        membership_rows(0.9, 0.6, 0.54, 0.5),
        property_rows(0.5, 0.2, 0.2, 0.0),
    )
    recommended = recommend(found, 5)

    assert [each.leaks for each in found] == [
        ("pictures", "membership", "density"),
        ("membership", "density"),
        ("density",),
        (),
    ]
    assert recommended.chosen == Verdict(setting=SETTINGS[2], leaks=("density",), learning_left=0.7)
    assert recommended.tight is not None
    assert recommended.tight.setting == SETTINGS[3]
    assert recommend(found, 3).chosen is None


def test_the_page_says_what_rows_mean_and_recommends_by_them() -> None:
    inversions = inversion_rows(0.3, 0.01, -0.02, -0.02)
    memberships = membership_rows(0.9, 0.6, 0.54, 0.5)
    properties = property_rows(0.5, 0.2, 0.2, 0.0)
    found = verdicts(inversions, memberships, properties)
    asked = Asked(cohorts=(5,), noise_multipliers=(0.1, 1.0, 10.0))
    differences = [
        DifferencingRow(setting=SETTINGS[0], two_sums=1.0, exact=1.0, two_rounds=0.5, chance=0.01),
        DifferencingRow(setting=SETTINGS[2], two_sums=0.04, exact=None, two_rounds=0.02, chance=0.01),
    ]

    text = page(
        Audit(
            material=shared_out("some", [drawn(f"woman-{number}", 3) for number in range(10)], seed=1),
            asked=asked,
            plan=plan_of(QUICK, asked),
            num_values=10_000,
            inversions=inversions,
            memberships=memberships,
            properties=properties,
            differences=differences,
            refusal="No.",
            image_values=attack_image_values([0.1, 0.5] * 12, RULES),
            recommendations=[recommend(found, 5)],
        )
    )

    for line in (
        "| 5 | secure aggregation, noise 1 | density | 70 % | 10; learning left: none, the round harms "
        "| 2 (1 hospital may leave) |",
        "| crafted | sum of 5 hospitals | 0.70 | 0.40 | +0.30 | the picture is got back in part |",
        "| sum of 5 hospitals, noise 10 | 1 % (-4 to 6) | 0.50 (0.45 to 0.55) | no better than guessing "
        "| none, the round harms |",
        "| sum of 5 hospitals | 100 % | 1.000 | 0.500 | 0.010 | two sums would tell the update, "
        "and are refused; two rounds tell much of it |",
        "| sum of 5 hospitals, noise 1 | - | 0.040 | 0.020 | 0.010 | two sums would tell a trace of it, "
        "and are refused; two rounds tell nothing |",
        "| a mean over 4 images | nothing told | - | 0.2000 | refused: nothing to guess by |",
    ):
        assert line in text


@pytest.mark.parametrize(("num_sites", "colluding"), [(3, 0), (5, 2), (20, 11)])
def test_the_most_that_may_collude_leaves_room_for_a_fifth_that_leaves(
    num_sites: int, colluding: int
) -> None:
    recommended = recommend([], num_sites)

    # t is the fewest with 2t > n + c: 2 of 3, 4 of 5, 16 of 20.
    assert recommended.colluding == colluding
    assert recommended.dropouts == num_sites - (num_sites + colluding) // 2 - 1 == -(-num_sites // 5)


def test_the_ladder_has_a_single_update_and_each_sum_with_each_noise() -> None:
    assert ladder((3, 5), (0.1,)) == [
        Setting(num_sites=PLAIN),
        Setting(num_sites=3),
        Setting(num_sites=3, noise_multiplier=0.1),
        Setting(num_sites=5),
        Setting(num_sites=5, noise_multiplier=0.1),
    ]


def drawn(patient: str, dense_rows: int) -> PatientExample:
    labels_HW = np.full((10, 10), Label.ADIPOSE, np.uint8)
    labels_HW[:dense_rows] = Label.DENSE
    labels_HW[:, 8:] = Label.PECTORAL
    example = Example(example_id=patient, image_HW=np.zeros((10, 10), np.uint16), labels_HW=labels_HW)
    return PatientExample(patient=patient, example=example)


def test_no_woman_is_in_two_parts() -> None:
    material = shared_out("some", [drawn(f"woman-{number % 10}", 3) for number in range(20)], seed=1)

    parts = [
        {each.patient for each in part} for part in (material.attacked, material.attackers, material.unseen)
    ]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert len(set.union(*parts)) == 10
    assert percent_density(drawn("woman", 3)) == pytest.approx(30)


@pytest.mark.slow
def test_a_quick_audit_takes_less_than_three_minutes_and_tells_in_words_and_pictures(tmp_path: Path) -> None:
    began, asked = time.process_time(), Asked()

    found = audit(phantoms(QUICK.num_women, seed=asked.seed), asked, QUICK)
    text = write(found, tmp_path).read_text()

    # Of a processor: other programs make it no slower.
    assert time.process_time() - began < 180
    assert text.count("sum of 20 hospitals") >= 4
    for name in ("inversions.png", "leaks.png"):
        assert f"({name})" in text
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["membership"]) == len(figures["property"]) == 13
    assert figures["refusal_of_second_sum"]
    plain, alone = found.properties[0], found.differences[0]
    assert plain.one.value > 0.3
    assert alone.exact == 1.0
