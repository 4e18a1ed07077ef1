"""What the settings of a plan are called on a form, and one line about each (docs/plan.md has more)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BASIC = (
    "name",
    "rounds.count",
    "rounds.quorum",
    "model.size",
    "training.local_epochs",
    "training.batch_size",
    "training.learning_rate",
    "aggregation.strategy",
)
"""What most runs set; all else is folded away."""

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "": "Seed, and what hospitals tell",
        "rounds": "Waiting for answers",
        "model": "Network and its input",
        "training": "Training at a hospital",
        "aggregation": "Updates and what is made of them",
        "personalisation": "Layers that each hospital keeps for itself",
        "privacy": "What the coordinator sees of a hospital",
        "privacy.patient_noise": "Noise that hides each patient",
        "privacy.site_noise": "Noise that hides each hospital in the sum",
    }
)
"""Titles, by the plan's table."""

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "metrics": "What every hospital is asked to tell",
        "rounds.count": "Rounds",
        "rounds.quorum": "Quorum",
        "model.size": "Size of the network",
        "rounds.timeout_s": "Longest wait for answers, in seconds",
        "model.input_height_px": "Height of the input, in pixels",
        "model.input_width_px": "Width of the input, in pixels",
        "model.pixel_mm": "Side of a pixel of the input, in mm",
        "model.density_band": "Head for density bands",
        "training.augment": "Augment the training images",
        "training.flip": "Show half of the images upside down",
        "training.deterministic": "The same bytes again on a GPU too",
        "aggregation.bits": "Bits of a number on the wire",
        "aggregation.max_update_norm": "Bound on the norm of an update",
        "aggregation.proximal_mu": "Proximal mu",
        "personalisation.epochs": "Epochs of these layers",
        "personalisation.learning_rate": "Learning rate of these layers",
        "privacy.metrics": "Metrics of each hospital, or in aggregate only",
        "privacy.colluding_sites": "Hospitals that may collude",
        "privacy.neighbours": "Hospitals that each one masks with",
        "privacy.patient_noise.multiplier": "Noise",
        "privacy.patient_noise.gradient_norm": "Bound of a patient's gradient",
        "privacy.site_noise.multiplier": "Noise in the sum",
    }
)

HELP: Mapping[str, str] = MappingProxyType(
    {
        "name": "a-z, 0-9 and hyphens; names the run and its model",
        "seed": "initial weights and all random numbers",
        "rounds.quorum": "approvals that the run needs, and answers that a round needs",
        "rounds.timeout_s": "at most; once there are answers, three times the slowest",
        "rounds.late_updates": "what becomes of an update that came after its attempt was closed",
        "model.network": "all find breast, pectoral and dense tissue",
        "model.encoder": "of mtl_unet alone",
        "model.size": "tiny for trials on a CPU, base for a GPU",
        "model.width": "so many times as many channels",
        "model.loss": "focal_tversky: missed tissue costs more",
        "model.task_weighting": "uncertainty: the network learns the weights",
        "model.density_band": "whose categories teach it",
        "model.input_height_px": "a multiple of 32",
        "model.input_width_px": "a multiple of 32",
        "model.pixel_mm": "where a picture's spacing is known",
        "training.local_epochs": "of a hospital in one round",
        "training.batch_size": "images in a step",
        "training.learning_rate": "its peak: warm-up, then a cosine over the run",
        "training.weight_decay": "of AdamW",
        "training.warmup_fraction": "share of the run with rising rate",
        "training.deterministic": "slower there",
        "aggregation.strategy": "robust against hostile hospitals: trimmed_mean, median, multi_krum",
        "aggregation.bits": "8 has error feedback",
        "aggregation.max_update_norm": "L2; a longer update is rejected",
        "aggregation.proximal_mu": "of fedprox",
        "aggregation.server_learning_rate": "of fedadam and fedyogi",
        "aggregation.momentum": "of fedadam and fedyogi",
        "aggregation.second_momentum": "of fedadam and fedyogi",
        "aggregation.adaptivity": "of fedadam and fedyogi",
        "aggregation.hostile_sites": "of trimmed_mean and multi_krum",
        "personalisation.layers": "fine-tuned on its own images at the end",
        "privacy.secure_aggregation": "sums of updates alone; auto: on with three hospitals or more",
        "privacy.metrics": "in_aggregate: sums of all hospitals alone; takes secure aggregation on",
        "privacy.colluding_sites": "with the coordinator, without its learning more",
        "privacy.neighbours": "an even number; empty: all",
        "privacy.patient_noise.multiplier": "times the bound; empty: none; takes that no metric is told",
        "privacy.patient_noise.gradient_norm": "L2; empty: 1",
        "privacy.patient_noise.delta": "for which hospitals tell their epsilon; empty: 0.00001",
        "privacy.site_noise.multiplier": "times what one hospital moves; takes a bound on the norm",
        "privacy.site_noise.delta": "for which the model card tells epsilon; empty: 0.00001",
    }
)
