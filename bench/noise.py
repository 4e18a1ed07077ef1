"""What noise on patients costs a model: `python -m bench.noise`.

Three sites train the same plan without noise, and with more and more of it, from several seeds. Told are
epsilon of the site that spends most, and the dense Dice on patients that nobody trained on. With `--data`,
sites of a research archive; without, phantoms.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.learning import LearningSite, learn, read_hospitals, site_of_patients
from client.accounting import epsilon, steps_of_a_round
from shared.plan import ModelPlan, PatientNoisePlan, Plan, PrivacyPlan, RoundsPlan, TrainingPlan

MULTIPLIERS = (0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
DELTA = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one amount of noise came to.

    Attributes
    ----------
    multiplier
        None without noise, and without a bound of a patient's part.
    epsilon
        Of the site that spends most; infinite without noise.
    dice, spread
        Mean over seeds and test images, and standard deviation over seeds.
    """

    multiplier: float | None
    epsilon: float
    dice: float
    spread: float


def main() -> None:
    """Train everything and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.noise", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="research archive: index.csv with image, label, site")
    parser.add_argument("--patients", type=int, default=40, help="of the largest site, phantoms (default 40)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each amount (default 3)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each run (default 10)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of a round (default 3)")
    parser.add_argument("--batch", type=int, default=8, help="patients of a step on average (default 8)")
    parser.add_argument("--norm", type=float, default=0.5, help="bound of a patient's gradient (default 0.5)")
    parser.add_argument("--height", type=int, default=128, help="of the input in pixels (default 128)")
    parser.add_argument("--noise", type=float, nargs="*", default=MULTIPLIERS, help="multipliers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    plan = Plan(
        name="noise",
        metrics=(),
        rounds=RoundsPlan(count=options.rounds, quorum=2),
        model=ModelPlan(size="tiny", input_height_px=options.height, input_width_px=options.height // 2),
        training=TrainingPlan(local_epochs=options.epochs, batch_size=options.batch, learning_rate=3e-3),
    )
    hospitals = read_hospitals(options.data, num_patients=options.patients)
    sites = [site_of_patients(name, examples, plan) for name, examples in hospitals.items()]
    found = []
    for multiplier in (None, *options.noise):
        found.append(measure(plan, sites, multiplier, gradient_norm=options.norm, num_seeds=options.seeds))
        if not options.json:
            print_found(found[-1], sites)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))


def measure(
    plan: Plan,
    sites: Sequence[LearningSite],
    multiplier: float | None,
    *,
    gradient_norm: float,
    num_seeds: int,
) -> Found:
    """Train under one amount of noise from several seeds."""
    noise = None
    if multiplier is not None:
        noise = PatientNoisePlan(multiplier=multiplier, gradient_norm=gradient_norm, delta=DELTA)
    noisy = plan.model_copy(update={"privacy": PrivacyPlan(patient_noise=noise)})
    runs = [
        learn(noisy.model_copy(update={"seed": seed}), sites, bits=16).mean_dice_dense
        for seed in range(num_seeds)
    ]
    return Found(
        multiplier=multiplier,
        epsilon=math.inf if noise is None else max(spent(noisy, noise, site) for site in sites),
        dice=float(np.mean(runs)),
        spread=float(np.std(runs)),
    )


def spent(plan: Plan, noise: PatientNoisePlan, site: LearningSite) -> float:
    """Epsilon of a site after all rounds."""
    return epsilon([steps_of_a_round(plan, noise, len(site.patients))] * plan.rounds.count, noise.delta)


def print_found(one: Found, sites: Sequence[LearningSite]) -> None:
    """One amount of noise."""
    patients = "/".join(str(len(site.patients)) for site in sites)
    amount = "none" if one.multiplier is None else f"{one.multiplier:g}"
    print(
        f"{patients} patients, noise {amount:>5}: epsilon {one.epsilon:8.2f}, "
        f"dense Dice {one.dice:.3f} +- {one.spread:.3f}"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
