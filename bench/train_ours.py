"""Our trainer on a task, in a process of its own: `python -m bench.train_ours TASK`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch

from bench.training_task import NUM_WARM_UP, Task, Watch
from client.imaging.example import Example
from client.training import trainer
from client.training.augmentation import augment
from client.training.dataset import Batch, FittedDataset
from client.training.loading import batches
from shared.model import initial_model
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan


def main() -> None:
    """Train; what is put together and changed before the network sees it counts as waiting."""
    task = Task.from_json(sys.argv[1])
    plan = Plan(
        name="bench",
        rounds=RoundsPlan(count=1),
        model=ModelPlan.model_validate(
            {
                "network": task.network,
                "size": task.size,
                "input_height_px": task.height_px,
                "input_width_px": task.width_px,
            }
        ),
        training=TrainingPlan(
            batch_size=task.batch_size,
            local_epochs=-(-(task.num_steps + NUM_WARM_UP) * task.batch_size // task.num_images),
        ),
    )
    examples = (
        Example(example_id=str(number), image_HW=(image_HW * 65535).astype(np.uint16), labels_HW=labels_HW)
        for number, (image_HW, labels_HW) in enumerate(task.pictures())
    )
    dataset = FittedDataset(examples, plan.model)
    watch = Watch()

    def watched_batches(*arguments: object) -> Iterator[Batch]:
        coming = batches(*arguments)  # type: ignore[arg-type]
        while True:
            with watch.waiting():
                batch = next(coming, None)
            if batch is None:
                return
            yield batch

    def watched_augment(batch: Batch, generator: torch.Generator, *, flip: bool) -> Batch:
        with watch.waiting():
            return augment(batch, generator, flip=flip)

    setattr(trainer, "batches", watched_batches)  # noqa: B010 - another module's name
    setattr(trainer, "augment", watched_augment)  # noqa: B010
    trainer.train(
        initial_model(plan),
        dataset,
        plan,
        round_number=1,
        seed=0,
        device=torch.device(task.device),
        on_step=lambda _step: watch.step_ends(),
    )
    watch.print_json()


if __name__ == "__main__":
    main()
