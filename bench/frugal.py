"""What integers and hostile sites cost a model: `python -m bench.frugal`.

Three sites train the same plan with updates as float32, as 16 bits and as 8 bits with error feedback, from
several seeds; then five sites, of which one flips its labels or scales its updates, under several strategies.
With `--data`, the sites of a research archive; without, phantoms.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.learning import (
    Outcome,
    learn,
    learning_site,
    read_hospitals,
    scaled_by,
    with_flipped_labels,
)
from client.imaging.example import Example
from shared.fixed_point.grid import Bits
from shared.plan import AggregationPlan, ModelPlan, Plan, RoundsPlan, StrategyName, TrainingPlan

ARITHMETICS: dict[str, Bits | None] = {"float32": None, "16 bits": 16, "8 bits": 8}
ROBUST: tuple[StrategyName, ...] = ("fedavg", "trimmed_mean", "median", "multi_krum")
NUM_SITES = 5
SCALES = (10.0, 1000.0)


def main() -> None:
    """Train everything and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.frugal", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="research archive: index.csv with image, label, site")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each arithmetic (default 5)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each run (default 6)")
    parser.add_argument("--height", type=int, default=256, help="of the input in pixels (default 256)")
    options = parser.parse_args()
    plan = Plan(
        name="frugal",
        rounds=RoundsPlan(count=options.rounds, quorum=2),
        model=ModelPlan(size="tiny", input_height_px=options.height, input_width_px=options.height // 2),
        training=TrainingPlan(local_epochs=3, batch_size=4, learning_rate=3e-3),
    )
    hospitals = {
        name: [one.example for one in examples] for name, examples in read_hospitals(options.data).items()
    }
    compare_arithmetics(hospitals, plan, options.seeds)
    compare_strategies(spread(hospitals), plan)


def spread(hospitals: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """The same examples at five sites, as even as they go."""
    together = [example for examples in hospitals.values() for example in examples]
    return {f"site-{number}": together[number::NUM_SITES] for number in range(NUM_SITES)}


def compare_arithmetics(hospitals: dict[str, list[Example]], plan: Plan, num_seeds: int) -> None:
    """One line for each arithmetic; differences are between runs of the same seed."""
    seeded = [plan.model_copy(update={"seed": seed}) for seed in range(num_seeds)]
    sites = [learning_site(name, examples, plan) for name, examples in hospitals.items()]
    found = {name: [learn(one, sites, bits=bits) for one in seeded] for name, bits in ARITHMETICS.items()}
    exact = np.array([outcome.mean_dice_dense for outcome in found["float32"]])
    head = f"{'updates':10}{'dense Dice':>11}{'spread':>8}{'difference':>11}{'+-':>7}{'up MB':>8}{'ratio':>7}"
    print(head + "".join(f"{name:>13}" for name in hospitals))
    for name, outcomes in found.items():
        dice = np.array([outcome.mean_dice_dense for outcome in outcomes])
        error = (dice - exact).std(ddof=1) / num_seeds**0.5 if num_seeds > 1 else float("nan")
        print(
            f"{name:10}{dice.mean():11.4f}{dice.std():8.4f}{(dice - exact).mean():+11.4f}{error:7.4f}"
            f"{outcomes[0].upload_bytes / 1e6:8.2f}{_ratio(outcomes):7.3f}"
            + "".join(f"{_at_site(outcomes, site):13.4f}" for site in hospitals)
        )


def compare_strategies(hospitals: dict[str, list[Example]], plan: Plan) -> None:
    """One line for each strategy: all honest, then with one hostile site."""
    honest = [learning_site(name, examples, plan) for name, examples in hospitals.items()]
    flipped = learning_site("flipped", with_flipped_labels(hospitals[honest[0].name]), plan)
    hostile = {
        "labels flipped": replace(honest[0], train=flipped.train),
        **{f"update x {factor:.0f}": replace(honest[0], deed=scaled_by(factor)) for factor in SCALES},
    }
    print(f"\n{'strategy':14}{'honest':>8}" + "".join(f"{name:>16}" for name in hostile))
    for strategy in ROBUST:
        under = poisoned_plan(plan, strategy)
        clean = learn(under, honest, bits=16).mean_dice_dense
        print(f"{strategy:14}{clean:8.4f}", end="")
        for attacker in hostile.values():
            dice = learn(under, [attacker, *honest[1:]], bits=16).mean_dice_dense
            print(f"{dice:8.4f}{dice - clean:+8.4f}", end="", flush=True)
        print()


def poisoned_plan(plan: Plan, strategy: StrategyName) -> Plan:
    """The plan under a strategy that all five sites answer."""
    return plan.model_copy(
        update={
            "aggregation": AggregationPlan(strategy=strategy),
            "rounds": plan.rounds.model_copy(update={"quorum": NUM_SITES}),
        }
    )


def _ratio(outcomes: Sequence[Outcome]) -> float:
    return sum(each.upload_bytes for each in outcomes) / sum(each.float32_bytes for each in outcomes)


def _at_site(outcomes: Sequence[Outcome], site: str) -> float:
    return float(np.mean([dice for each in outcomes for dice in each.dice_dense(site)]))


if __name__ == "__main__":
    main()
