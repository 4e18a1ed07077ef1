"""What a site tells of itself outside of runs: as little as its policy says, and no difference of a few."""

from __future__ import annotations

import pytest

from client.catalog import Part
from client.gpus import Gpu
from client.policy.policy import EgressTable
from client.situation import settled_counts, situation_of
from shared.consent.records import GpuModel, Situation

COUNTS = {Part.TRAIN: 123, Part.VALIDATION: 14, Part.TEST: 4}
GPU = Gpu(name="NVIDIA H200 (HBM3e) 1.2.840.113619", used_mib=7, total_mib=143_771, busy_percent=3)


def told(egress: EgressTable, gpus: tuple[Gpu, ...] = ()) -> Situation:
    return situation_of(COUNTS, gpus, egress, number=1, site_id="site-aarhus")


def test_without_a_word_of_the_policy_nothing_is_told() -> None:
    assert told(EgressTable(), (GPU,)) == Situation(number=1, site_id="site-aarhus", is_told=False)


def test_counts_are_rounded_down_and_small_ones_are_left_out() -> None:
    situation = told(EgressTable(readiness="told", smallest_count=10, round_counts_to=10))

    assert (situation.training, situation.validation, situation.test) == (120, 10, None)


def test_of_a_gpu_its_name_in_plain_characters_and_its_memory_are_told_and_not_its_load() -> None:
    situation = told(EgressTable(readiness="told"), (GPU,))

    assert situation.gpus == (GpuModel(name="NVIDIA H200  HBM3e  1 2 840 113619", memory_gib=140),)


@pytest.mark.parametrize(
    ("now", "told_of"),
    [(100, 100), (104, 100), (96, 100), (105, 105), (95, 95)],
)
def test_differencing_two_counts_tells_of_no_fewer_than_may_be_told(now: int, told_of: int) -> None:
    before = {Part.TRAIN: 100}

    assert settled_counts({Part.TRAIN: now}, before, smallest=5) == {Part.TRAIN: told_of}


def test_the_first_count_is_what_is_here() -> None:
    assert settled_counts(COUNTS, None, smallest=5) == COUNTS
