"""The same task for all trainers: pictures in a file, a size of network and batch, steps to be timed."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

NUM_LABELS = 4
NUM_WARM_UP = 2
"""First steps that are not counted: memory is taken, algorithms are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What each trainer does.

    Attributes
    ----------
    network
        Of ours; `dyn_unet` is nnU-Net's, with channels per level as in `channels`.
    """

    network: str
    size: str
    channels: tuple[int, ...]
    height_px: int
    width_px: int
    batch_size: int
    num_steps: int
    num_images: int
    device: str

    def pictures(self) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
        """Half-discs of breast with a muscle and a dense patch, of the input's size, in [0, 1]."""
        random = np.random.default_rng(0)
        y, x = np.mgrid[-1 : 1 : self.height_px * 1j, 0 : 1 : self.width_px * 1j]
        for _ in range(self.num_images):
            labels_HW = (y**2 + x**2 < random.uniform(0.6, 0.9)).astype(np.uint8)
            dense_HW = (y - random.uniform(-0.2, 0.4)) ** 2 + (x - 0.4) ** 2 < random.uniform(0.03, 0.1)
            labels_HW[dense_HW & (labels_HW == 1)] = 2
            labels_HW[(y + x < -0.5) & (labels_HW > 0)] = 3
            noise_HW = random.normal(0.0, 0.05, labels_HW.shape) * (labels_HW > 0)
            image_HW = np.clip(np.array([0.0, 0.3, 0.6, 0.8])[labels_HW] + noise_HW, 0.0, 1.0)
            yield image_HW.astype(np.float32), labels_HW

    @classmethod
    def from_json(cls, text: str) -> Task:
        """From what `json.dumps(asdict(task))` gave."""
        fields = json.loads(text)
        return cls(**{**fields, "channels": tuple(fields["channels"])})


@dataclass(slots=True)
class Watch:
    """Times of steps, and how much of each was waiting until its batch was there, changed, on the device."""

    step_s: list[float] = field(default_factory=list)
    wait_s: list[float] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)
    _waited: float = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """In it nothing is learnt, for the data is not there."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def step_ends(self) -> None:
        """A step is over, on the device too; the next one begins."""
        now = time.perf_counter()
        self.step_s.append(now - self._began)
        self.wait_s.append(self._waited)
        self._began, self._waited = now, 0.0

    def print_json(self) -> None:
        """To standard output, as a line of its own."""
        told = {
            "step_s": self.step_s[NUM_WARM_UP:],
            "wait_s": self.wait_s[NUM_WARM_UP:],
            "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        print(json.dumps(told), flush=True)


def write_pictures(task: Task, file: Path) -> None:
    """For a trainer in another environment."""
    images, labels = zip(*task.pictures(), strict=True)
    np.savez(file, images=np.stack(images), labels=np.stack(labels), task=json.dumps(asdict(task)))
