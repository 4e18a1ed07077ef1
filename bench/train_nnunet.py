"""nnU-Net's own trainer on a task, by nnU-Net's Python: `python train_nnunet.py PICTURES.npz FOLDER`.

Its planning and preprocessing run as for any data set; then patch, batch and channels are those of the task.
This file imports nothing of ours.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NUM_WARM_UP = 2
DATASET = "Dataset001_Bench"
DATASET_ID = 1


def main() -> None:
    """Train; waiting is the time until its loaders have given a batch."""
    pictures, folder = np.load(sys.argv[1]), Path(sys.argv[2])
    task = json.loads(str(pictures["task"]))
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    write_dataset(pictures, folder / "raw" / DATASET)
    trainer = make_trainer(task, folder / "preprocessed" / DATASET)
    step_s, wait_s = [], []
    for _ in range(task["num_steps"] + NUM_WARM_UP):
        began = time.perf_counter()
        batch = next(trainer.dataloader_train)
        given = time.perf_counter()
        trainer.train_step(batch)
        step_s.append(time.perf_counter() - began)
        wait_s.append(given - began)
    told = {
        "step_s": step_s[NUM_WARM_UP:],
        "wait_s": wait_s[NUM_WARM_UP:],
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(told), flush=True)
    # Its loaders are processes that would go on.
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        finish = getattr(loader, "_finish", None)
        if finish is not None:
            finish()


def write_dataset(pictures: Mapping[str, Any], folder: Path) -> None:
    """8-bit PNG files, as nnU-Net's documentation has 2D images."""
    from PIL import Image

    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number, (image, labels) in enumerate(zip(pictures["images"], pictures["labels"], strict=True)):
        Image.fromarray((image * 255).astype(np.uint8)).save(folder / "imagesTr" / f"m{number:03}_0000.png")
        Image.fromarray(labels).save(folder / "labelsTr" / f"m{number:03}.png")
    document = {
        "channel_names": {"0": "mammogram"},
        "labels": {"background": 0, "adipose": 1, "dense": 2, "pectoral": 3},
        "numTraining": len(pictures["images"]),
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(document))


def make_trainer(task: Mapping[str, Any], preprocessed: Path) -> Any:
    """nnU-Net's trainer of 2D slices, ready for its first step."""
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    extract_fingerprints([DATASET_ID], num_processes=1)
    plan_experiments([DATASET_ID])
    preprocess([DATASET_ID], configurations=["2d"], num_processes=[1])
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    plan = plans["configurations"]["2d"]
    plan["patch_size"] = [task["height_px"], task["width_px"]]
    plan["batch_size"] = task["batch_size"]
    num_levels = len(task["channels"])
    plan["architecture"]["arch_kwargs"].update(
        n_stages=num_levels,
        features_per_stage=task["channels"],
        kernel_sizes=[[3, 3]] * num_levels,
        strides=[[1, 1]] + [[2, 2]] * (num_levels - 1),
        n_conv_per_stage=[2] * num_levels,
        n_conv_per_stage_decoder=[2] * (num_levels - 1),
    )
    plans["continue_training"] = False
    dataset = json.loads((preprocessed / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "2d", "all", dataset, device=torch.device(task["device"]))
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    return trainer


if __name__ == "__main__":
    main()
