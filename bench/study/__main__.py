"""Run a study, or go on with one, and write its page.

    python -m bench.study --data FOLDER      a research archive: index.csv with image, label, site
    python -m bench.study                    phantoms of three vendors

Each arm in each fold is kept as it ends; started again, the study does what is left. The phantoms' study
fails where a federated model is no better than the mean of other hospitals' local ones.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.learning import read_hospitals
from bench.study.arms import Arm, arms_of
from bench.study.folds import Fold, folds_of
from bench.study.report import Study, behind_foreign, write
from bench.study.results import Result, Results
from bench.study.running import run
from shared.plan import Plan, StrategyName

HERE = Path(__file__).parent
NUM_FOLDS = 5
SPLIT_SEED = 2026
STRATEGIES: tuple[StrategyName, ...] = ("fedavg", "fedprox", "fedbn")


def main() -> None:
    """Train what is left to train, then tell."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.study", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="research archive; phantoms without it")
    parser.add_argument("--plan", type=Path, help="another plan than the study's own")
    parser.add_argument("--output", type=Path, default=Path("docs/study"), help="default docs/study")
    parser.add_argument("--folds", type=int, nargs="+", help="only these of the five folds, from 1")
    parser.add_argument(
        "--arms", nargs="+", help="only these arms, such as pooled, fedavg, local, 'local mgh'"
    )
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    plan_file = options.plan or HERE / ("films.toml" if options.data else "phantoms.toml")
    plan = Plan.from_toml(plan_file.read_bytes())
    hospitals = read_hospitals(options.data)
    results = Results(options.output / plan.name)
    every = arms_of(sorted(hospitals), STRATEGIES, personal=plan.personalisation.layers != "none")
    arms = [arm for arm in every if not options.arms or any(arm.is_called(name) for name in options.arms)]
    if not arms:
        parser.error(f"no such arm; there are {', '.join(arm.name for arm in every)}")
    folds = [
        fold
        for fold in folds_of(hospitals, num_folds=NUM_FOLDS, seed=SPLIT_SEED)
        if not options.folds or fold.number in options.folds
    ]

    def found(arm: Arm, fold: Fold) -> Result | None:
        return results.find(arm.name, fold.number, arm.settings(plan))

    for each in run([(arm, fold) for arm in arms for fold in folds if not found(arm, fold)], plan, console):
        results.keep(each)
    done = [result for arm in every for fold in folds if (result := found(arm, fold))]
    study = Study.of(done, plan, num_folds=len(folds), chosen_on=_chosen_on(plan))
    console.print(f"Written: {write(study, options.output)}")
    if not options.data and (behind := behind_foreign(study)):
        console.print(f"No better than other hospitals' local models: {', '.join(behind)}.", style="red")
        sys.exit(1)


def _chosen_on(plan: Plan) -> frozenset[str]:
    """Names of the images on which a plan's settings were chosen; none if there is no list of them."""
    file = HERE / f"{plan.name}.chosen-on.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return frozenset(line for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    main()
