"""A federation in one process, to measure what learning loses: all but the network is the product's.

Sites train, round and write their updates as `client` does; the coordinator admits and aggregates them as
`server` does, from files in a folder. With `bits=None` updates stay as they are and are averaged in float64:
what the rest is compared with.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from client.evaluation.images import ImageMetrics, evaluate_images
from client.imaging.example import Example, Label
from client.intake.candidates import Refusal
from client.intake.exclusions import IntakeRules
from client.intake.loading import load
from client.intake.sources import open_source
from client.training.dataset import FittedDataset
from client.training.local_round import (
    Correct,
    LocalRound,
    control_state,
    own_weights,
    residual_state,
    rounding_of,
    train_round,
)
from client.training.micro_batches import MicroBatches
from client.training.noisy_training import train_with_noise
from client.training.schedule import training_seed
from client.training.trainer import TrainingResult, train
from deploy.demo.phantoms.three_hospitals import write_hospitals
from server.aggregation import Aggregation, first_checkpoint
from server.strategies import strategy_of
from server.weighting import SiteWeights
from shared.bands import BANDS
from shared.fixed_point.grid import Bits
from shared.fixed_point.update_file import read_update, write_update
from shared.model import Weights, build_model, initial_model
from shared.model.weights import from_bytes, load_into, weights_of
from shared.plan import Plan
from shared.records import Contribution, Occasion, Phase
from shared.transfer.blob_store import BlobStore

CPU = torch.device("cpu")
RUN_ID = "run"
TEST_EVERY = 3

SiteState = Mapping[str, Tensor]
"""What a site keeps between rounds."""

Deed = Callable[[Weights], Weights]
"""What a hostile site makes of its update before it is rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSite:
    """A site's images, fitted to the plan's input.

    Attributes
    ----------
    deed
        What it does to its updates; None is honest.
    patients
        Positions of each patient's images in the training part; a plan with noise on patients needs them.
    """

    name: str
    train: FittedDataset
    test: FittedDataset
    deed: Deed | None = None
    patients: Sequence[Sequence[int]] = ()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    images
        Each test image of each site under its final weights.
    upload_bytes
        Of all updates of all rounds.
    float32_bytes
        Of the same updates as float32.
    weights
        After each round, the first ones first.
    own_weights
        What each site ends with: the last weights, with its own layers in them where the strategy has such.
    """

    images: dict[str, list[ImageMetrics]] = field(default_factory=dict)
    upload_bytes: int = 0
    float32_bytes: int = 0
    weights: list[Weights] = field(default_factory=list)
    own_weights: dict[str, Weights] = field(default_factory=dict)

    @property
    def mean_dice_dense(self) -> float:
        """Over all test images of all sites."""
        return float(np.mean([dice for site in self.images for dice in self.dice_dense(site)]))

    def dice_dense(self, site: str) -> list[float]:
        """Of a site's test images on which an expert has drawn dense tissue."""
        return [image.dice_dense for image in self.images[site] if image.dice_dense is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientExample:
    """An example, and whose it is."""

    patient: str
    example: Example


def load_examples(folder: Path) -> list[PatientExample]:
    """The examples of a source that have a mask or a category, in its fixed order."""
    source = open_source(folder, IntakeRules(accept_secondary_capture=True), lambda _done, _total: None)
    examples = []
    for candidate in source.candidates:
        loaded = load(candidate)
        if isinstance(loaded, Refusal):
            continue
        density = next((band for band in BANDS if band == candidate.density), None)
        if loaded.labels_HW is not None or density is not None:
            name = f"{folder.name}-{candidate.position}"
            example = Example(
                example_id=name,
                image_HW=loaded.image_HW,
                labels_HW=loaded.labels_HW,
                spacing=loaded.spacing,
                density=density,
            )
            examples.append(PatientExample(patient=candidate.patient_id, example=example))
    return examples


def read_hospitals(data: Path | None, *, num_patients: int = 10) -> dict[str, list[PatientExample]]:
    """The masked examples of each hospital of a research archive, or of phantoms made on the spot."""
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            folders = write_hospitals(Path(folder), patients=num_patients, seed=2026, spacing_mm=0.5)
            return {each.name: load_examples(each) for each in folders}
    with (data / "index.csv").open(newline="") as file:
        names = [row["site"].replace("_", "-") for row in csv.DictReader(file)]
    hospitals: dict[str, list[PatientExample]] = {name: [] for name in sorted(set(names))}
    for name, example in zip(names, load_examples(data), strict=True):
        hospitals[name].append(example)
    return hospitals


def learning_site(name: str, examples: Sequence[Example], plan: Plan) -> LearningSite:
    """A site that trains on two thirds of its examples."""
    kept = [one for place, one in enumerate(examples) if place % TEST_EVERY]
    return LearningSite(
        name=name,
        train=FittedDataset(kept, plan.model),
        test=FittedDataset(examples[::TEST_EVERY], plan.model),
    )


def site_of_patients(name: str, examples: Sequence[PatientExample], plan: Plan) -> LearningSite:
    """A site that trains on two thirds of its patients, and knows whose each image is."""
    order = list(dict.fromkeys(one.patient for one in examples))
    tested = set(order[::TEST_EVERY])
    kept = [one for one in examples if one.patient not in tested]
    whose = [one.patient for one in kept]
    return LearningSite(
        name=name,
        train=FittedDataset([one.example for one in kept], plan.model),
        test=FittedDataset([one.example for one in examples if one.patient in tested], plan.model),
        patients=[
            [place for place, patient in enumerate(whose) if patient == wanted]
            for wanted in order
            if wanted not in tested
        ],
    )


def with_flipped_labels(examples: Sequence[Example]) -> list[Example]:
    """The same pictures with dense tissue drawn as fat, and fat as dense tissue."""
    flip = np.arange(len(Label), dtype=np.uint8)
    flip[[Label.ADIPOSE, Label.DENSE]] = Label.DENSE, Label.ADIPOSE
    flipped = []
    for one in examples:
        assert one.labels_HW is not None
        flipped.append(replace(one, labels_HW=flip[one.labels_HW]))
    return flipped


def scaled_by(factor: float) -> Deed:
    """A site that sends a multiple of its update."""
    return lambda update: {name: tensor * factor for name, tensor in update.items()}


def learn(
    plan: Plan,
    sites: Sequence[LearningSite],
    *,
    bits: Bits | None,
    on_step: Callable[[], None] = lambda: None,
) -> Outcome:
    """Carry a plan through its rounds, and evaluate the final weights at every site.

    Parameters
    ----------
    plan
        Its own bits do not count.
    bits
        None sends float32.
    on_step
        Told of every optimiser step of every site.
    """
    if bits is not None:
        aggregation = plan.aggregation.model_copy(update={"bits": bits})
        plan = plan.model_copy(update={"aggregation": aggregation})
    outcome = Outcome(weights=[weights_of(initial_model(plan))])
    with tempfile.TemporaryDirectory() as folder:
        rounds = _exact_rounds if bits is None else _rounds
        states = rounds(plan, sites, BlobStore(Path(folder)), outcome, on_step)
    for site in sites:
        ended = own_weights(outcome.weights[-1], plan, states[site.name])
        outcome.own_weights[site.name] = ended
        outcome.images[site.name] = tested(ended, site.test, plan)
    return outcome


def tested(weights: Weights, images: FittedDataset, plan: Plan) -> list[ImageMetrics]:
    """Images under some weights."""
    model = build_model(plan.model)
    load_into(model, weights)
    return evaluate_images(model, images, plan, CPU)


def _weights(plan: Plan, sites: Sequence[LearningSite]) -> SiteWeights:
    weights = SiteWeights.of_counts({site.name: len(site.train) for site in sites})
    alike = strategy_of(plan.aggregation).needs_single_updates
    return weights.alike(num_first=len(sites)) if alike else weights


def _exact_rounds(
    plan: Plan,
    sites: Sequence[LearningSite],
    _blobs: BlobStore,
    outcome: Outcome,
    on_step: Callable[[], None],
) -> dict[str, SiteState]:
    weights = _weights(plan, sites)
    for number in range(1, plan.rounds.count + 1):
        base = outcome.weights[-1]
        means = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in base.items()}
        for site in sites:
            update = _train(plan, site, base, {}, number, on_step).update
            for name, tensor in update.items():
                means[name] += weights.share(site.name) * tensor.double()
            outcome.upload_bytes += _float32_bytes(update)
            outcome.float32_bytes += _float32_bytes(update)
        outcome.weights.append({name: (base[name].double() + means[name]).float() for name in base})
    return {site.name: {} for site in sites}


def _rounds(
    plan: Plan,
    sites: Sequence[LearningSite],
    blobs: BlobStore,
    outcome: Outcome,
    on_step: Callable[[], None],
) -> dict[str, SiteState]:
    checkpoint = first_checkpoint(plan, blobs)
    states: dict[str, SiteState] = {site.name: {} for site in sites}
    for number in range(1, plan.rounds.count + 1):
        aggregation = Aggregation(plan=plan, base=checkpoint, weights=_weights(plan, sites), blobs=blobs)
        base = outcome.weights[-1]
        for site in sites:
            occasion = Occasion(
                run_id=RUN_ID,
                plan_sha256=plan.sha256,
                round_number=number,
                attempt=1,
                phase=Phase.TRAIN,
                site_id=site.name,
                base_digest=checkpoint.weights.digest,
            )
            trained = _train(plan, site, base, states[site.name], number, on_step)
            rounding = rounding_of(aggregation.terms(site.name), plan, occasion, states[site.name])
            with blobs.draft() as draft:
                with draft.open("wb") as file:
                    values = {name: tensor.numpy() for name, tensor in trained.update.items()}
                    write_update(file, rounding.grid, rounding.blocks(values), compress=True)
                update = blobs.put_draft(draft)
            with blobs.path(update.digest).open("rb") as sent:
                control = control_state(states[site.name], rounding, read_update(sent, rounding.grid))
            states[site.name] = {**trained.state, **residual_state(rounding), **control}
            contribution = Contribution(
                occasion=occasion,
                num_examples=len(site.train),
                update=update,
                num_clipped=rounding.num_clipped,
                train_loss=None,
                evaluation=None,
                personal_evaluation=None,
                appearance=None,
                duration_s=0.0,
                checkpoint="none",
                masking=None,
                epsilon=None,
            )
            aggregation.take(contribution)
            outcome.upload_bytes += update.size_bytes
            outcome.float32_bytes += _float32_bytes(trained.update)
        checkpoint = aggregation.checkpoint()
        content = blobs.path(checkpoint.weights.digest).read_bytes()
        outcome.weights.append(from_bytes(content, like=base))
    return states


def _train(
    plan: Plan,
    site: LearningSite,
    base: Weights,
    state: SiteState,
    number: int,
    on_step: Callable[[], None],
) -> LocalRound:
    seed = training_seed(plan.seed, run_id=RUN_ID, round_number=number, attempt=1, site_id=site.name)
    noise = plan.privacy.patient_noise

    def train_model(model: nn.Module, correct: Correct) -> TrainingResult:
        if noise is None:
            return train(
                model,
                site.train,
                plan,
                round_number=number,
                seed=seed,
                device=CPU,
                correct=correct,
                on_step=lambda _: on_step(),
            )
        return train_with_noise(
            model,
            site.train,
            site.patients,
            plan,
            noise,
            round_number=number,
            device=CPU,
            correct=correct,
            on_step=lambda _: on_step(),
            should_stop=lambda: False,
            micro_batches=MicroBatches(CPU),
        )

    trained = train_round(base, plan, state, {}, train_model)
    return replace(trained, update=site.deed(trained.update)) if site.deed else trained


def _float32_bytes(update: Weights) -> int:
    return sum(4 * tensor.numel() for tensor in update.values())
