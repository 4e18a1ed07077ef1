"""Training by what a site has: its GPUs, its memory, and what it has learnt of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from client.training.dataset import FittedDataset
from client.training.device import limit_memory
from client.training.micro_batches import MicroBatches
from client.training.noisy_training import train_with_noise
from client.training.ranks import ranks_on
from client.training.trainer import Step, TrainingResult, train
from shared.errors import NotReadyError
from shared.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTrainer:
    """Trains on the site's devices, round after round.

    Attributes
    ----------
    devices
        Those that share a step; the first one computes what is not shared.
    """

    devices: tuple[torch.device, ...]
    micro_batches: MicroBatches

    @classmethod
    def on(cls, devices: tuple[torch.device, ...]) -> SiteTrainer:
        """A trainer that knows nothing yet of these devices' memory."""
        return cls(devices=devices, micro_batches=MicroBatches(devices[0]))

    def train(
        self,
        model: nn.Module,
        dataset: FittedDataset,
        plan: Plan,
        *,
        most_gib: float | None,
        round_number: int,
        seed: int,
        on_step: Callable[[Step], None],
        should_stop: Callable[[], bool],
        correct: Callable[[nn.Module], None],
        patients: Sequence[Sequence[int]] | None = None,
    ) -> TrainingResult:
        """As `client.training.trainer.train`, with at most so many GiB of each GPU's memory.

        Parameters
        ----------
        patients
            Positions of each patient's examples, if the plan hides patients in noise; one device computes
            then. None for what stays at the site.

        Raises
        ------
        NotReadyError
            That does not hold a single image.
        NonFiniteError, StoppedError
            As `train`.
        """
        limit_memory(self.devices[0], most_gib)
        noise = plan.privacy.patient_noise
        try:
            if patients is not None and noise is not None:
                return train_with_noise(
                    model,
                    dataset,
                    patients,
                    plan,
                    noise,
                    round_number=round_number,
                    device=self.devices[0],
                    on_step=on_step,
                    should_stop=should_stop,
                    correct=correct,
                    micro_batches=self.micro_batches,
                )
            with ranks_on(self.devices[: plan.training.batch_size], most_gib) as ranks:
                return train(
                    model,
                    dataset,
                    plan,
                    round_number=round_number,
                    seed=seed,
                    device=self.devices[0],
                    on_step=on_step,
                    should_stop=should_stop,
                    correct=correct,
                    micro_batches=self.micro_batches,
                    ranks=ranks,
                )
        except torch.OutOfMemoryError as error:
            raise NotReadyError(
                "The plan's network needs more GPU memory for one image than this site has or lets it use.",
                "Ask for a smaller network or input, or raise `limits.gpu_memory_gib` in policy.toml.",
            ) from error
