"""Arms and folds in processes of their own, one on each core, with their progress."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench.study.arms import Arm, run_arm
from bench.study.folds import Fold
from bench.study.results import Result
from shared.plan import Plan

POLL_S = 0.2
TELL_EVERY_STEPS = 10

Steps = queue.Queue[tuple[str, int, int]]
"""Of an arm in a fold: its name, steps taken, steps in all."""


def run(left: Sequence[tuple[Arm, Fold]], plan: Plan, console: Console) -> Iterator[Result]:
    """Train arms in folds, and yield each result as it comes."""
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    num_workers = min(len(os.sched_getaffinity(0)), len(left))
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(num_workers, mp_context=context) as pool,
        _progress(console) as progress,
    ):
        steps: Steps = manager.Queue()  # a proxy of one
        all_of_them = progress.add_task("arms and folds", total=len(left), rate="")
        tasks = {
            _name(arm, fold): progress.add_task(_name(arm, fold), visible=False, start=False, rate="")
            for arm, fold in left
        }
        running = {pool.submit(_run_alone, arm, fold, plan, steps): _name(arm, fold) for arm, fold in left}
        while running:
            _follow(steps, progress, tasks)
            for future in [each for each in running if each.done()]:
                progress.update(tasks[running.pop(future)], visible=False)
                progress.advance(all_of_them)
                yield future.result()


def _run_alone(arm: Arm, fold: Fold, plan: Plan, steps: Steps) -> Result:
    """One arm in this process, on one core, so that its bytes do not depend on what else runs."""
    torch.set_num_threads(1)

    def tell(taken: int, total: int) -> None:
        if taken % TELL_EVERY_STEPS == 1:
            steps.put((_name(arm, fold), taken, total))

    return run_arm(arm, fold, plan, tell)


def _name(arm: Arm, fold: Fold) -> str:
    return f"{arm.name}, fold {fold.number}"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )


def _follow(steps: Steps, progress: Progress, tasks: dict[str, TaskID]) -> None:
    try:
        name, taken, total = steps.get(timeout=POLL_S)
    except queue.Empty:
        return
    progress.start_task(tasks[name])
    speed = progress.tasks[tasks[name]].speed
    rate = f"{speed:.1f} steps/s" if speed else ""
    progress.update(tasks[name], completed=taken, total=total, rate=rate, visible=taken < total)
