"""A site at the end of a line that loses packets, or is slow: its contributions come all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from bench.our_rounds import bytes_of, plan_of
from tests.e2e.small_federation import SmallFederation, build, running, shared_hospitals
from tests.faults.poor_line import PoorLine, poor_line, why_not
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

OBSTACLE = why_not()
pytestmark = [
    pytest.mark.long,
    pytest.mark.netns,
    pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE)),
    pytest.mark.timeout(900),
]

VICTIM = "hospital-north"
MB = 1_000_000
SOME_SECONDS = {"local_epochs": 4}
TIMEOUT_S = 600.0
LOSS, DELAY_S = 0.1, 0.1
SLOW_BITS_PER_S, SLOW_MODEL_BYTES = 8 * MB, 8 * MB


@pytest.fixture(scope="module")
def line() -> Iterator[PoorLine]:
    with poor_line() as made:
        yield made


@pytest.fixture(scope="module")
def federation(
    line: PoorLine, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallFederation]:
    """Two hospitals, one of them at the end of the line."""
    hospitals = shared_hospitals(request.config, tmp_path_factory)[:2]
    made = build(tmp_path_factory.mktemp("poor"), hospitals, host=line.here, listen=line.here)
    made.sites[VICTIM].prefix = line.prefix
    with running(made):
        yield made


def states(shown: dict) -> list[list[str]]:
    return [[part["state"] for part in one["parts"]] for one in shown["rounds"]]


def test_a_line_that_loses_a_tenth_of_all_packets_and_takes_its_time_costs_no_contribution(
    federation: SmallFederation, line: PoorLine, witness: Witness
) -> None:
    line.loss, line.delay_s = LOSS, DELAY_S
    plan = federation.write_plan("loss", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    try:
        shown = federation.finish(federation.launch(plan))
    finally:
        line.loss = line.delay_s = 0.0

    seconds = [round(one["seconds"], 1) for one in shown["rounds"]]
    log.info("rounds took %s s; of %d packets %d were lost", seconds, line.num_passed, line.num_lost)
    assert line.num_lost > 0.05 * line.num_passed
    assert states(shown) == [["admitted"] * 2] * 2
    witness.reckon(shown["run_id"], rounds=2)


def test_a_line_of_a_megabyte_a_second_is_slow_and_costs_no_contribution(
    federation: SmallFederation, line: PoorLine, witness: Witness
) -> None:
    network = plan_of(SLOW_MODEL_BYTES)
    plan = federation.write_plan(
        "slow",
        rounds=2,
        timeout_s=TIMEOUT_S,
        model=network.model_dump(exclude_none=True),
        aggregation={"compression": "none"},
    )
    line.limit(SLOW_BITS_PER_S)

    shown = federation.finish(federation.launch(plan))

    seconds = [round(one["seconds"], 1) for one in shown["rounds"]]
    log.info("rounds of a model of %.1f MB over 1 MB/s took %s s", bytes_of(network) / MB, seconds)
    assert seconds[0] > bytes_of(network) / MB  # later rounds fetch what has changed of the weights
    assert states(shown) == [["admitted"] * 2] * 2
    witness.reckon(shown["run_id"], rounds=2)
