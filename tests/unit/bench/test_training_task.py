"""What the benchmark of training gives to every trainer, and what it makes of their steps."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from bench.train import Measured
from bench.training_task import NUM_WARM_UP, Task, Watch

TASK = Task(
    network="mtl_unet",
    size="tiny",
    channels=(4, 8),
    height_px=64,
    width_px=32,
    batch_size=4,
    num_steps=3,
    num_images=5,
    device="cpu",
)


def test_every_trainer_gets_the_same_pictures_of_the_input_s_size() -> None:
    pictures, again = list(TASK.pictures()), list(Task.from_json(json.dumps(asdict(TASK))).pictures())

    assert len(pictures) == 5
    for (image_HW, labels_HW), (same_HW, _) in zip(pictures, again, strict=True):
        assert image_HW.shape == labels_HW.shape == (64, 32)
        assert np.array_equal(image_HW, same_HW)
        assert set(np.unique(labels_HW)) <= {0, 1, 2, 3}
        assert 0.0 <= image_HW.min() <= image_HW.max() <= 1.0


def test_the_first_steps_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    for _ in range(NUM_WARM_UP + 3):
        with watch.waiting():
            pass
        watch.step_ends()

    watch.print_json()

    told = json.loads(capsys.readouterr().out)
    assert len(told["step_s"]) == len(told["wait_s"]) == 3
    assert all(0 <= wait_s <= step_s for wait_s, step_s in zip(told["wait_s"], told["step_s"], strict=True))


def test_speed_is_by_the_median_step_and_waiting_a_share_of_all_time() -> None:
    measured = Measured(
        trainer="ours", beside="ours", step_s=[0.5, 0.5, 3.0], wait_s=[0.1, 0.1, 0.2], peak_bytes=0
    )

    assert measured.images_per_s(4) == 8.0
    assert measured.waiting == pytest.approx(10.0)
