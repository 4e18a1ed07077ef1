"""What a run must have come to, reckoned from what its sites signed and sent, and from nothing else.

While a run goes on, the test keeps every blob of its sites under a second name. The reckoning starts from the
plan's first weights and takes into each round the contributions that the coordinator's register counts there,
once each. An undisturbed run in which the same sites were counted in the same attempts comes to just these
bytes; any contribution that was lost, counted twice or spoilt gives others.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server.aggregation import Aggregation, first_checkpoint, weights_of_run
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import AnswerState, RoundState, RunState
from shared.audit.events import AnswerAdmitted
from shared.plan import Plan
from shared.records import Contribution, Phase
from shared.transfer.blob_store import BlobStore
from tests.e2e.small_federation import SmallFederation

LOOK_S = 0.02


@dataclass(slots=True, kw_only=True)
class Witness:
    """Keeps what sites send."""

    federation: SmallFederation
    folder: Path

    @contextlib.contextmanager
    def watching(self) -> Iterator[Witness]:
        """Keep every blob that appears at a site until the block is left."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def _watch(self, done: threading.Event) -> None:
        self.folder.mkdir(exist_ok=True)
        while not done.wait(LOOK_S):
            for role in self.federation.sites.values():
                for blob in (role.home / "blobs" / "blobs").glob("*/*"):
                    # A blob never changes, so that its second name is as good as a copy.
                    with contextlib.suppress(FileExistsError, FileNotFoundError):
                        os.link(blob, self.folder / blob.name)

    def reckon(self, run_id: str, *, rounds: int) -> None:
        """Assert that the run has ended well, round by round and to the last bit."""
        coordinator = Coordinator.open(CoordinatorHome(self.federation.coordinator.home))
        run = coordinator.runs.get(run_id)
        assert run.state is RunState.FINISHED, run.failure
        plan = Plan.from_toml(run.plan_toml)
        counted = _counted(coordinator, run_id)
        closed = [each for each in coordinator.runs.rounds(run_id) if each.aggregate is not None]
        assert [each.number for each in closed] == list(range(1, rounds + 1))

        blobs = BlobStore(self.folder / "reckoning")
        at = first_checkpoint(plan, blobs)
        for one in closed:
            shares = weights_of_run(plan, _counts_before(coordinator, run_id, one.opened_at))
            assert shares is not None
            aggregation = Aggregation(plan=plan, base=at, weights=shares, blobs=blobs)
            for contribution in counted[one.number, one.attempt]:
                assert contribution.update is not None
                blobs.put_bytes((self.folder / contribution.update.digest).read_bytes())
                aggregation.take(contribution)
            at = aggregation.checkpoint()
            assert at.weights == one.aggregate, f"round {one.number} came to other bytes"
        last = coordinator.runs.last_checkpoint(run_id)
        assert last is not None
        assert (last.weights, last.state) == (at.weights, at.state)  # its delta is no part of the model
        assert coordinator.models.of_run(run_id) is not None
        _compare_with_the_log(coordinator, run_id)


def _counted(coordinator: Coordinator, run_id: str) -> dict[tuple[int, int], list[Contribution]]:
    """The contributions of each attempt that became an aggregate: each site once a round."""
    closed = {
        (each.number, each.attempt)
        for each in coordinator.runs.rounds(run_id)
        if each.phase is Phase.TRAIN and each.state is RoundState.AGGREGATED
    }
    counted: dict[tuple[int, int], list[Contribution]] = {key: [] for key in closed}
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
    """The audit log tells of just as many admissions as the register holds."""
    admitted = sum(answer.state is AnswerState.ADMITTED for answer in coordinator.runs.answers(run_id))
    told = [line.name for line in coordinator.audit.lines(subject=run_id)]
    assert told.count(AnswerAdmitted.name) == admitted
