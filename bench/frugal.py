"""What integers cost a model: `python -m bench.frugal`.

Three sites train the same plan with updates as float32, as 16 bits and as 8 bits with error feedback, from
several seeds.
With `--data`, the sites of a research archive; without, phantoms.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.learning import Outcome, learn, learning_site, read_hospitals
from client.imaging.example import Example
from shared.fixed_point.grid import Bits
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan

ARITHMETICS: dict[str, Bits | None] = {"float32": None, "16 bits": 16, "8 bits": 8}


def main() -> None:
    """Train everything and print a table."""
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
    compare_arithmetics(
        {name: [one.example for one in examples] for name, examples in read_hospitals(options.data).items()},
        plan,
        options.seeds,
    )


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


def _ratio(outcomes: Sequence[Outcome]) -> float:
    return sum(each.upload_bytes for each in outcomes) / sum(each.float32_bytes for each in outcomes)


def _at_site(outcomes: Sequence[Outcome], site: str) -> float:
    return float(np.mean([dice for each in outcomes for dice in each.dice_dense(site)]))


if __name__ == "__main__":
    main()
