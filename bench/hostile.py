"""What one hostile site of five costs a model under each strategy: `python -m bench.hostile`.

The images of all hospitals are dealt to five sites. One of them then draws dense tissue as fat and fat as
dense tissue, or sends a multiple of its update. With `--data`, the images of a research archive; without,
phantoms.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.learning import LearningSite, learn, learning_site, read_hospitals, scaled_by, with_flipped_labels
from client.imaging.example import Example
from shared.plan import AggregationPlan, ModelPlan, Plan, RoundsPlan, StrategyName, TrainingPlan

STRATEGIES: tuple[StrategyName, ...] = ("fedavg", "trimmed_mean", "median", "multi_krum")
NUM_SITES = 5
SCALES = (10.0, 1000.0)
HONEST, FLIPPED = "all honest", "labels flipped"


def main() -> None:
    """Train everything and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="research archive: index.csv with image, label, site")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each case (default 3)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each run (default 10)")
    parser.add_argument("--height", type=int, default=128, help="of the input in pixels (default 128)")
    options = parser.parse_args()
    hospitals = read_hospitals(options.data)
    examples = {name: [one.example for one in of_site] for name, of_site in hospitals.items()}
    plan = hostile_plan(num_rounds=options.rounds, height_px=options.height)
    cases = cases_of(spread(examples), plan)
    print(f"{'strategy':14}" + "".join(f"{name:>24}" for name in cases))
    for strategy in STRATEGIES:
        print(f"{strategy:14}", end="")
        honest = None
        for sites in cases.values():
            dice = dense_dice(sites, plan, strategy, range(options.seeds))
            honest = dice if honest is None else honest
            print(f"{_told(dice, honest):>24}", end="", flush=True)
        print()


def hostile_plan(*, num_rounds: int, height_px: int) -> Plan:
    """A small network, and rounds that all five sites answer."""
    return Plan(
        name="hostile",
        rounds=RoundsPlan(count=num_rounds, quorum=NUM_SITES),
        model=ModelPlan(size="tiny", input_height_px=height_px, input_width_px=height_px // 2),
        training=TrainingPlan(local_epochs=3, batch_size=4, learning_rate=3e-3),
    )


def spread(hospitals: Mapping[str, Sequence[Example]]) -> dict[str, list[Example]]:
    """The examples of all hospitals at five sites, as even as they go."""
    together = [example for examples in hospitals.values() for example in examples]
    return {f"site-{number}": together[number::NUM_SITES] for number in range(NUM_SITES)}


def cases_of(
    examples: Mapping[str, Sequence[Example]], plan: Plan, scales: Sequence[float] = SCALES
) -> dict[str, list[LearningSite]]:
    """All honest, and then the first site as each attacker; test images are the same in every case."""
    first, *others = [learning_site(name, of_site, plan) for name, of_site in examples.items()]
    flipped = learning_site(first.name, with_flipped_labels(examples[first.name]), plan).train
    return {
        HONEST: [first, *others],
        FLIPPED: [replace(first, train=flipped), *others],
        **{f"update x {scale:.0f}": [replace(first, deed=scaled_by(scale)), *others] for scale in scales},
    }


def dense_dice(
    sites: Sequence[LearningSite], plan: Plan, strategy: StrategyName, seeds: Sequence[int]
) -> list[float]:
    """Mean dense Dice over all test images, for each seed."""
    found = []
    for seed in seeds:
        aggregation = AggregationPlan(strategy=strategy)
        seeded = plan.model_copy(update={"aggregation": aggregation, "seed": seed})
        found.append(learn(seeded, sites, bits=16).mean_dice_dense)
    return found


def _told(dice: Sequence[float], honest: Sequence[float]) -> str:
    if dice is honest:
        return f"{np.mean(dice):.3f}"
    change = np.subtract(dice, honest)
    error = f" +- {change.std(ddof=1) / len(change) ** 0.5:.3f}" if len(change) > 1 else ""
    return f"{np.mean(dice):.3f} ({change.mean():+.3f}{error})"


if __name__ == "__main__":
    main()
