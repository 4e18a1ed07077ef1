"""What does federating gain? One federated model beside pooled and local-only ones, on open data.

A study and not the product: it brings several sites' images into one place and shows local models to other
sites, both of which a real federation never does.

    python deploy/demo/study.py --site HOME --site HOME --plan PLAN.toml --global-model FOLDER --output FOLDER

Every arm takes the number of optimiser steps that the whole federation took, rounded down to whole epochs.
All arms are evaluated on the test images of all sites. `study.json` and `study.png` are written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from client.catalog import Catalog, Part
from client.evaluation.images import ImageMetrics, evaluate_images
from client.imaging.example import Example
from client.training.dataset import FittedDataset
from client.training.device import choose_device
from client.training.schedule import training_seed
from client.training.step_counts import num_steps_per_round
from client.training.trainer import Step, train
from shared.model import build_model, initial_model
from shared.model.weights import load, load_into
from shared.plan import Plan

FEDERATED, POOLED = "federated", "pooled"
NUM_RESAMPLES = 2_000
INTERVAL_PERCENT = (2.5, 97.5)
MEASURES = ("dice_dense", "dice_breast", "dice_pectoral", "percent_density_error")
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of training: on the training parts of which homes, and by how many steps.

    Attributes
    ----------
    training
        The plan with one round of as many epochs as make the steps.
    """

    name: str
    homes: tuple[Path, ...]
    training: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """An arm's test images by site, and the steps and seconds that it took to train."""

    name: str
    num_steps: int
    seconds: float
    images: Mapping[str, list[ImageMetrics]]

    def values(self, measure: str) -> dict[str, npt.NDArray[np.float64]]:
        """One measure of each test image, by site."""
        return {
            site: np.array([getattr(image, measure) for image in images])
            for site, images in self.images.items()
        }

    def mean(self, measure: str) -> float:
        """Mean of a measure over the test images of all sites."""
        return float(np.concatenate(list(self.values(measure).values())).mean())


def examples(home: Path, part: Part) -> list[Example]:
    """The examples of one part of a site's catalog."""
    with Catalog.open(home) as catalog:
        return [catalog.load(example_id) for example_id in catalog.examples(part)]


def arms(homes: Sequence[Path], plan: Plan) -> tuple[list[Arm], int]:
    """The arms to train, longest first, and the federation's steps in all."""
    counts = {home: len(examples(home, Part.TRAIN)) for home in homes}
    total = plan.rounds.count * sum(num_steps_per_round(plan.training, count) for count in counts.values())

    def arm(name: str, of: tuple[Path, ...]) -> Arm:
        one_epoch = plan.training.model_copy(update={"local_epochs": 1})
        epochs = max(1, total // num_steps_per_round(one_epoch, sum(counts[home] for home in of)))
        return Arm(
            name=name,
            homes=of,
            training=plan.model_copy(
                update={
                    "rounds": plan.rounds.model_copy(update={"count": 1}),
                    "training": plan.training.model_copy(update={"local_epochs": epochs}),
                }
            ),
        )

    return [arm(POOLED, tuple(homes)), *(arm(f"local {home.name}", (home,)) for home in homes)], total


def evaluate_at_sites(
    model: torch.nn.Module, homes: Sequence[Path], plan: Plan, device: torch.device
) -> dict[str, list[ImageMetrics]]:
    """Each site's test images under one model."""
    return {
        home.name: evaluate_images(model, FittedDataset(examples(home, Part.TEST), plan.model), plan, device)
        for home in homes
    }


def run_arm(
    arm: Arm, homes: Sequence[Path], num_threads: int, steps: queue.Queue[tuple[str, Step]]
) -> ArmResult:
    """Train one arm in this process and evaluate it at all sites."""
    torch.set_num_threads(num_threads)
    device = choose_device("auto")
    plan = arm.training
    model = initial_model(plan)
    dataset = FittedDataset([one for home in arm.homes for one in examples(home, Part.TRAIN)], plan.model)
    started = time.monotonic()
    result = train(
        model,
        dataset,
        plan,
        round_number=1,
        seed=training_seed(plan.seed, run_id="study", round_number=1, attempt=1, site_id=arm.name),
        device=device,
        on_step=lambda step: steps.put((arm.name, step)),
    )
    seconds = time.monotonic() - started
    return ArmResult(
        name=arm.name,
        num_steps=result.num_steps,
        seconds=seconds,
        images=evaluate_at_sites(model, homes, plan, device),
    )


def run_arms(chosen: Sequence[Arm], homes: Sequence[Path], console: Console) -> list[ArmResult]:
    """Train all arms, two at a time on the CPU where there are two cores, and show how far they are."""
    num_cores = len(os.sched_getaffinity(0))
    num_workers = 1 if num_cores == 1 or choose_device("auto").type == "cuda" else 2
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        steps = manager.Queue()
        futures = [
            pool.submit(run_arm, arm, homes, max(1, num_cores // num_workers), steps) for arm in chosen
        ]
        _show_progress(chosen, futures, steps, console)
        return [future.result() for future in futures]


def _show_progress(
    chosen: Sequence[Arm],
    futures: Sequence[Future[ArmResult]],
    steps: queue.Queue[tuple[str, Step]],
    console: Console,
) -> None:
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {arm.name: progress.add_task(arm.name, total=None, start=False, rate="") for arm in chosen}
        while not all(future.done() for future in futures) or not steps.empty():
            try:
                name, step = steps.get(timeout=POLL_S)
            except queue.Empty:
                continue
            task = tasks[name]
            if step.number == 1:
                progress.start_task(task)
            speed = progress.tasks[task].speed
            rate = f"{speed:.1f} steps/s" if speed else ""
            progress.update(task, completed=step.number, total=step.num_steps, rate=rate)


def interval(values: Mapping[str, npt.NDArray[np.float64]], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over all images, resampled within each site."""
    random = np.random.default_rng(seed)
    sums = np.zeros(NUM_RESAMPLES)
    for site in sorted(values):
        drawn = random.integers(0, len(values[site]), size=(NUM_RESAMPLES, len(values[site])))
        sums += values[site][drawn].sum(axis=1)
    low, high = np.percentile(sums / sum(map(len, values.values())), INTERVAL_PERCENT)
    return float(low), float(high)


def summary(results: Sequence[ArmResult], plan: Plan) -> dict[str, object]:
    """All figures of the study, ready for JSON."""
    pooled, best_local = _yardsticks(results)
    federated = next(result for result in results if result.name == FEDERATED).mean("dice_dense")
    return {
        "plan_sha256": plan.sha256,
        "federated_to_pooled": federated / pooled,
        "federated_to_best_local": federated / best_local,
        "arms": [
            {
                "name": result.name,
                "num_steps": result.num_steps,
                "seconds": result.seconds,
                "mean": {measure: result.mean(measure) for measure in MEASURES},
                "dice_dense_interval_95": interval(result.values("dice_dense"), plan.seed),
                "dice_dense_by_site": {
                    site: float(values.mean()) for site, values in result.values("dice_dense").items()
                },
                "images": {site: [asdict(one) for one in images] for site, images in result.images.items()},
            }
            for result in results
        ],
    }


def dense_table(results: Sequence[ArmResult], plan: Plan) -> Table:
    """Dense tissue under each arm, over all sites and at each."""
    sites = list(results[0].images)
    shown = Table(
        title="Dice of dense tissue, mean over test images",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("model", no_wrap=True)
    for heading in ("steps", "all sites", "95 %", *sites):
        shown.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        by_site = result.values("dice_dense")
        low, high = interval(by_site, plan.seed)
        shown.add_row(
            result.name,
            str(result.num_steps),
            f"{result.mean('dice_dense'):.3f}",
            f"{low:.3f}-{high:.3f}",
            *(f"{by_site[site].mean():.3f}" for site in sites),
        )
    return shown


def other_table(results: Sequence[ArmResult]) -> Table:
    """The other measures of each arm, and how its dense Dice compares."""
    shown = Table(
        title="Means over all test images: Dice, percent-density error in points",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("model", no_wrap=True)
    for heading in ("breast", "pectoral", "PD error", "vs pooled", "vs best local"):
        shown.add_column(heading, justify="right", no_wrap=True)
    pooled, best_local = _yardsticks(results)
    for result in results:
        dense = result.mean("dice_dense")
        shown.add_row(
            result.name,
            f"{result.mean('dice_breast'):.3f}",
            f"{result.mean('dice_pectoral'):.3f}",
            f"{result.mean('percent_density_error'):.1f}",
            f"{dense / pooled:.3f}",
            f"{dense / best_local:.3f}",
        )
    return shown


def _yardsticks(results: Sequence[ArmResult]) -> tuple[float, float]:
    """Mean dense Dice of the pooled and of the best local model."""
    dense = {result.name: result.mean("dice_dense") for result in results}
    return dense[POOLED], max(value for name, value in dense.items() if name not in {FEDERATED, POOLED})


def draw(results: Sequence[ArmResult], plan: Plan, file: Path) -> None:
    """Bar chart of dense Dice: a group over all images and one per site, a bar per arm."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sites = list(results[0].images)
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(results)
    for place, result in enumerate(results):
        by_site = result.values("dice_dense")
        groups = [by_site, *({site: by_site[site]} for site in sites)]
        means = np.array([np.concatenate(list(group.values())).mean() for group in groups])
        bounds = np.array([interval(group, plan.seed) for group in groups])
        errors = np.abs(bounds.T - means)
        at = np.arange(len(groups)) + (place - (len(results) - 1) / 2) * width
        axes.bar(at, means, width * 0.92, yerr=errors, capsize=2, label=result.name)
    counts = [len(images) for images in results[0].images.values()]
    names = [f"all sites\n{sum(counts)} images"]
    names += [f"{site}\n{count} images" for site, count in zip(sites, counts, strict=True)]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("Dice of dense tissue, mean and 95 % interval")
    axes.set_ylim(0, 1)
    axes.set_title("Test images of each site under each model")
    figure.legend(ncols=len(results), loc="outside lower center")
    figure.savefig(file, dpi=150)


def main() -> None:
    """Train the arms, evaluate all, write and show the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, action="append", required=True, help="home of a site; repeat")
    parser.add_argument("--plan", type=Path, required=True, help="plan of the federated run")
    parser.add_argument("--global-model", type=Path, required=True, help="folder of the federated model")
    parser.add_argument("--output", type=Path, required=True, help="folder for study.json and study.png")
    options = parser.parse_args()

    console = Console()
    plan = Plan.from_toml(options.plan.read_text())
    chosen, total = arms(options.site, plan)
    model = build_model(plan.model)
    load_into(model, load(options.global_model / "weights.safetensors", like=model.state_dict()))
    federated = ArmResult(
        name=FEDERATED,
        num_steps=total,
        seconds=0.0,
        images=evaluate_at_sites(model, options.site, plan, choose_device("auto")),
    )
    results = [federated, *run_arms(chosen, options.site, console)]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "study.json").write_text(json.dumps(summary(results, plan), indent=2) + "\n")
    draw(results, plan, options.output / "study.png")
    console.print(dense_table(results, plan))
    console.print(other_table(results))
    console.print(f"Written: {options.output / 'study.json'}, {options.output / 'study.png'}")


if __name__ == "__main__":
    main()
