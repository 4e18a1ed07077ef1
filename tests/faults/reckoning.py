"""What a run must have come to, reckoned from what its sites signed and sent, and from nothing else.

While a run goes on, the test keeps every blob of its sites, and every record of their rounds, under a second
name. The reckoning starts from the plan's first weights and adds up, by itself and in integers, what the
coordinator's register counts in each round, once each, by weights that it works out from the counts of all
sites. An undisturbed run in which the same sites were counted in the same attempts comes to just these bytes;
any contribution that was lost, counted twice or spoilt gives others. One of them is computed anew from its
site's data and its occasion: these must be the bytes that were counted.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from client.catalog import Catalog, Part
from client.training.dataset import FittedDataset
from client.training.local_round import rounding_of, train_round
from client.training.schedule import training_seed
from client.training.trainer import train
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import AnswerState, RoundState, RunState
from server.store import Round
from shared.audit.events import AnswerAdmitted
from shared.fixed_point.grid import Grid
from shared.fixed_point.update_file import read_update, write_update
from shared.model import Weights, blank_model, initial_model
from shared.model.sent import sent_shapes
from shared.model.weights import to_bytes, weights_of
from shared.plan import Plan
from shared.records import Contribution, Occasion, Phase, Terms
from shared.transfer.blob_ref import BlobRef
from tests.e2e.small_federation import SmallFederation

LOOK_S = 0.02
LENGTH = struct.Struct("<I")
CPU = torch.device("cpu")

Counted = dict[tuple[int, int], list[Contribution]]
"""Contributions by round and attempt."""


@dataclass(slots=True, kw_only=True)
class Witness:
    """Keeps what sites send, and what they note of it."""

    federation: SmallFederation
    folder: Path

    @contextlib.contextmanager
    def watching(self) -> Iterator[Witness]:
        """Keep every blob and every record that appears at a site until the block is left."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    @property
    def _records(self) -> Path:
        return self.folder / "records"

    def _watch(self, done: threading.Event) -> None:
        self._records.mkdir(parents=True, exist_ok=True)
        while not done.wait(LOOK_S):
            for role in self.federation.sites.values():
                for blob in (role.home / "blobs" / "blobs").glob("*/*"):
                    _keep(blob, self.folder / blob.name)
                for record in (role.home / "rounds").glob("*/*.round"):
                    with contextlib.suppress(FileNotFoundError):
                        _keep(record, self._records / f"{record.stat().st_ino}-{record.stat().st_mtime_ns}")

    def reckon(self, run_id: str, *, rounds: int) -> None:
        """Assert that the run has ended well, round by round and to the last bit."""
        coordinator = Coordinator.open(CoordinatorHome(self.federation.coordinator.home))
        run = coordinator.runs.get(run_id)
        assert run.state is RunState.FINISHED, run.failure
        plan = Plan.from_toml(run.plan_toml)
        assert plan.aggregation.strategy == "fedavg", "no other mean is worked out here"
        counted = _counted(coordinator, run_id)
        closed = [each for each in coordinator.runs.rounds(run_id) if each.aggregate is not None]
        assert [each.number for each in closed] == list(range(1, rounds + 1))
        if plan.rounds.late_updates == "use" and not plan.is_masked:
            _insist_that_nothing_was_lost(coordinator, run_id, closed, counted)

        terms = self._terms()
        if plan.is_masked:
            counted = {key: [self._bare(each, terms) for each in them] for key, them in counted.items()}
        weights = weights_of(initial_model(plan))
        for one in closed:
            contributions = counted[one.number, one.attempt]
            shares = _weights(plan, _counts_before(coordinator, run_id, one.opened_at))
            assert BlobRef.of(to_bytes(weights)) == one.base
            before, weights = weights, self._sum_up(plan, weights, contributions, shares, terms)
            assert BlobRef.of(to_bytes(weights)) == one.aggregate, f"round {one.number} came to other bytes"
        last = coordinator.runs.last_checkpoint(run_id)
        assert last is not None
        assert last.weights == closed[-1].aggregate
        assert coordinator.models.of_run(run_id) is not None
        first_site = _site_id(next(iter(self.federation.sites.values())).home)  # which most faults strike
        again = [each for each in contributions if each.occasion.site_id == first_site] or contributions
        self._compute_again(plan, before, again[0], terms)
        _compare_with_the_log(coordinator, run_id)

    def _terms(self) -> dict[str, tuple[Occasion, Terms]]:
        """What sites were announced when they computed an update, by its digest."""
        noted = {}
        for file in self._records.glob("*[0-9]"):
            content = file.read_bytes()
            (length,) = LENGTH.unpack_from(content)
            document = json.loads(content[LENGTH.size : LENGTH.size + length])
            occasion = Occasion.from_bytes(json.dumps(document["occasion"]).encode())
            noted[document["update"][0]] = occasion, Terms.from_bytes(json.dumps(document["terms"]).encode())
        return noted

    def _bare(self, contribution: Contribution, noted: Mapping[str, tuple[Occasion, Terms]]) -> Contribution:
        """A contribution with what its site has on record in the place of what it has sent under a mask."""
        answered = contribution.occasion
        kept = {
            occasion.attempt: digest
            for digest, (occasion, _) in noted.items()
            if (occasion.run_id, occasion.round_number, occasion.site_id)
            == (answered.run_id, answered.round_number, answered.site_id)
            and occasion.attempt <= answered.attempt
        }
        digest = kept[max(kept)]
        assert contribution.update is not None
        assert digest != contribution.update.digest
        size_bytes = (self.folder / digest).stat().st_size
        bare = BlobRef(digest=digest, size_bytes=size_bytes)
        return contribution.model_copy(update={"update": bare})

    def _sum_up(
        self,
        plan: Plan,
        base: Weights,
        contributions: list[Contribution],
        weights: Mapping[str, int],
        noted: Mapping[str, tuple[Occasion, Terms]],
    ) -> Weights:
        """The next weights: base plus the sum of all integers, in steps, by the share that answered."""
        sums = {name: np.zeros(tensor.numel(), np.int64) for name, tensor in base.items()}
        answered, totals = 0, set()
        for contribution in contributions:
            assert contribution.update is not None
            _, terms = noted[contribution.update.digest]
            assert terms.weight == weights[contribution.occasion.site_id]
            answered, totals = answered + terms.weight, totals | {terms.total}
            grid = _grid(plan, terms)
            with (self.folder / contribution.update.digest).open("rb") as file:
                for block, integers in zip(grid.blocks(), read_update(file, grid), strict=True):
                    sums[block.name][block.start : block.stop] += integers
        (total,) = totals  # the same for all
        return {
            name: torch.from_numpy(
                (
                    tensor.double().numpy().reshape(-1) + sums[name] * (grid.step(name) / (answered / total))
                ).astype(np.float32)
            ).reshape(tensor.shape)
            for name, tensor in base.items()
        }

    def _compute_again(
        self,
        plan: Plan,
        base: Weights,
        counted: Contribution,
        noted: Mapping[str, tuple[Occasion, Terms]],
    ) -> None:
        """Assert that a site's data and its occasion give the very update that was counted."""
        assert counted.update is not None
        occasion, terms = noted[counted.update.digest]
        (home,) = (
            role.home for role in self.federation.sites.values() if _site_id(role.home) == occasion.site_id
        )
        with Catalog.open(home) as catalog, _one_thread():
            examples = [catalog.load(each) for each in catalog.examples(Part.TRAIN)]
            computed = train_round(
                base,
                plan,
                {},
                {},
                lambda model, correct: train(
                    model,
                    FittedDataset(examples, plan.model),
                    plan,
                    round_number=occasion.round_number,
                    seed=training_seed(
                        plan.seed,
                        run_id=occasion.run_id,
                        round_number=occasion.round_number,
                        attempt=occasion.attempt,
                        site_id=occasion.site_id,
                    ),
                    device=CPU,
                    correct=correct,
                ),
            )
        rounding = rounding_of(terms, plan, occasion, {})
        file = io.BytesIO()
        blocks = rounding.blocks({name: tensor.numpy() for name, tensor in computed.update.items()})
        write_update(file, rounding.grid, blocks, compress=plan.aggregation.compression != "none")
        assert BlobRef.of(file.getvalue()) == counted.update, "the site's data give another update"


def _keep(file: Path, second: Path) -> None:
    """Give a file another name; neither a blob nor a record ever changes, so that it is as good as a copy."""
    if second.exists():
        return
    try:
        os.link(file, second)
    except (FileExistsError, FileNotFoundError):
        return
    except OSError as error:
        if error.errno != errno.EXDEV:  # a disk of its own
            raise
        with contextlib.suppress(FileNotFoundError):
            half = second.with_suffix(".half")
            shutil.copyfile(file, half)
            half.rename(second)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """As many as the sites of a small federation use: sums of floats depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _site_id(home: Path) -> str:
    site_id: str = json.loads((home / "membership.json").read_text())["site_id"]
    return site_id


def _grid(plan: Plan, terms: Terms) -> Grid:
    shapes = sent_shapes(blank_model(plan.model), plan.aggregation)
    return Grid(bits=terms.bits, shapes=shapes, exponents=dict(zip(shapes, terms.exponents, strict=True)))


def _weights(plan: Plan, batches: list[dict[str, int]]) -> dict[str, int]:
    """Ten times a site's examples, within one and ten times those of the largest of the first quorum."""
    first: dict[str, int] = {}
    weights: dict[str, int] = {}
    for batch in batches:
        if len(first) < plan.rounds.quorum:
            first |= batch
            weights = {}
        largest = max(first.values())
        new = first if not weights else batch
        weights |= {site: min(max(10 * count, largest), 10 * largest) for site, count in new.items()}
    return weights


def _insist_that_nothing_was_lost(
    coordinator: Coordinator, run_id: str, closed: list[Round], counted: Counted
) -> None:
    """What was admitted in an attempt that came to nothing is counted in the one that closes its round."""
    closing = {
        one.number: {each.occasion.site_id: each.update for each in counted[one.number, one.attempt]}
        for one in closed
    }
    void = {
        (each.number, each.attempt)
        for each in coordinator.runs.rounds(run_id)
        if each.phase is Phase.TRAIN and each.state is RoundState.VOID
    }
    for answer in coordinator.runs.answers(run_id):
        if answer.phase is Phase.TRAIN and (answer.number, answer.attempt) in void and answer.contribution:
            assert closing[answer.number].get(answer.site_id) == answer.contribution.update, (
                f"what {answer.site_id} gave to round {answer.number} was lost"
            )


def _counted(coordinator: Coordinator, run_id: str) -> Counted:
    """The contributions of each attempt that became an aggregate: each site once a round."""
    closed = {
        (each.number, each.attempt)
        for each in coordinator.runs.rounds(run_id)
        if each.phase is Phase.TRAIN and each.state is RoundState.AGGREGATED
    }
    counted: Counted = {key: [] for key in closed}
    for answer in coordinator.runs.answers(run_id):
        if answer.phase is Phase.TRAIN and (answer.number, answer.attempt) in closed:
            assert (answer.state is AnswerState.ADMITTED) is (answer.contribution is not None)
            if answer.contribution is not None:
                counted[answer.number, answer.attempt].append(answer.contribution)
    sites = Counter((number, each.occasion.site_id) for (number, _), them in counted.items() for each in them)
    assert set(sites.values()) == {1}
    return counted


def _counts_before(coordinator: Coordinator, run_id: str, opened_at: float) -> list[dict[str, int]]:
    """Training examples by site, of each exchange of counting before this time."""
    opened = {
        each.attempt: each.opened_at for each in coordinator.runs.rounds(run_id) if each.phase is Phase.COUNT
    }
    batches: dict[int, dict[str, int]] = {}
    for answer in coordinator.runs.answers(run_id):
        counts = answer.phase is Phase.COUNT and opened[answer.attempt] < opened_at
        if counts and answer.contribution is not None:
            batches.setdefault(answer.attempt, {})[answer.site_id] = answer.contribution.num_examples
    return list(batches.values())


def _compare_with_the_log(coordinator: Coordinator, run_id: str) -> None:
    """The audit log tells of just as many admissions as the register holds, each of them once."""
    answers = coordinator.runs.answers(run_id)
    admitted = {each.contribution.occasion for each in answers if each.contribution is not None}
    told = [line.name for line in coordinator.audit.lines(subject=run_id)]
    assert told.count(AnswerAdmitted.name) == len(admitted)
