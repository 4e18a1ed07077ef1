"""A round's updates on their way into the next checkpoint.

A folding strategy needs the sum alone: an update is added as it arrives, and under secure aggregation
masked, so that only the sum of all is ever bare. A robust one reads single updates from the blob store.
Either way no update is ever held whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from server.admission import admit_masked, admit_update, read_blocks, read_through
from server.checkpoints import CheckpointFiles, read_grid, write_first_state, write_next
from server.combining import changes_by_robust_mean, changes_by_sum
from server.masking import MaskedRound
from server.metric_sums import MetricSum
from server.store import Checkpoint
from server.strategies import strategy_of
from server.strategies.strategy import Change, RobustStrategy
from server.weighting import SiteWeights, first_of_a_quorum
from shared.errors import AggregationError
from shared.evaluation.together import Together
from shared.fixed_point.grid import Grid, Shape
from shared.fixed_point.sums import IntegerSum
from shared.masking.records import MaskingAsked
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import common_terms
from shared.model import blank_model, initial_model
from shared.model.sent import norm_bound, sent_shapes
from shared.model.tensor_file import write_model
from shared.model.weights_delta import write_delta
from shared.plan import Plan
from shared.records import Contribution, Delta, Phase, Terms, metrics_asked
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore

WORTH_A_DELTA = 0.9
"""Share of the whole weights up to which sites are offered what has changed: to apply it takes time, too."""


def first_checkpoint(plan: Plan, blobs: BlobStore, *, parent: Checkpoint | None = None) -> Checkpoint:
    """The weights that a run starts from, and the strategy's state beside them.

    Parameters
    ----------
    parent
        The last checkpoint of the run that this one goes on from: its state holds on, the grid of the next
        round with it.

    Raises
    ------
    AggregationError
        The weights that the plan names are not here.
    """
    if parent is not None:
        return replace(parent, number=0)
    weights = _drawn_weights(plan, blobs) if plan.initial_weights is None else _given_weights(plan, blobs)
    # A share is at most 1, whatever the counts will be.
    return Checkpoint(number=0, weights=weights, state=_first_state(plan, weights, blobs, largest_share=1.0))


def _drawn_weights(plan: Plan, blobs: BlobStore) -> BlobRef:
    with blobs.draft() as draft:
        write_model(draft, initial_model(plan))
        return blobs.put_draft(draft)


def _given_weights(plan: Plan, blobs: BlobStore) -> BlobRef:
    digest = plan.initial_weights
    assert digest is not None
    if not blobs.has(digest):
        raise AggregationError(
            "The weights that the plan starts from are not in the coordinator's store.",
            "Start a run anew with `run start --initial-weights`.",
        )
    weights = BlobRef(digest=digest, size_bytes=blobs.size(digest))
    blobs.verify(weights)
    return weights


def _first_state(plan: Plan, weights: BlobRef, blobs: BlobStore, *, largest_share: float) -> BlobRef:
    with blobs.draft() as state:
        files = CheckpointFiles(weights=blobs.path(weights.digest), state=state)
        strategy, bits = strategy_of(plan.aggregation), plan.aggregation.bits
        write_first_state(files, strategy, _sent(plan), bits=bits, largest_share=largest_share)
        return blobs.put_draft(state)


@dataclass(slots=True, kw_only=True)
class Aggregation:
    """One attempt at a round: an `Intake` for its exchange, then its checkpoint.

    Attributes
    ----------
    base
        Of blobs that were verified, or made, since this process began.
    """

    plan: Plan
    base: Checkpoint
    weights: SiteWeights
    blobs: BlobStore
    grid: Grid = field(init=False)
    _masked: MaskedRound | None = None
    _noise: SiteNoise | None = None
    _metrics: MetricSum | None = None
    _sum: IntegerSum | None = field(init=False)
    _contributions: list[Contribution] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.grid = read_grid(self._files(), _sent(self.plan), bits=self.plan.aggregation.bits)
        robust = strategy_of(self.plan.aggregation).needs_single_updates
        self._sum = None if robust else IntegerSum(self.grid)

    def terms(self, site_id: str) -> Terms:
        """The site's weight, the grid and, where the site needs it, the strategy's state."""
        return Terms(
            weight=self.weights.weights[site_id],
            total=self.weights.total,
            bits=self.grid.bits,
            exponents=list(self.grid.exponents.values()),
            state=self.base.state if self.plan.aggregation.strategy == "scaffold" else None,
        )

    def mask(self, attempt: str) -> MaskedRound:
        """From now on updates of an attempt are added as they come, masked, with the plan's noise in them.

        Raises
        ------
        AggregationError
            The round's grid does not suit the noise.
        """
        privacy = self.plan.privacy
        self._masked = MaskedRound(
            attempt=attempt,
            colluding=privacy.colluding_sites,
            neighbours=privacy.neighbours,
            common=common_terms(self.grid, self.weights.total),
        )
        bound = norm_bound(self.plan.aggregation, self.grid.shapes, share=1 / self.weights.total)
        self._noise = SiteNoise.of(self.plan, self.grid, bound)
        if self.plan.tells_in_aggregate:
            self._metrics = MetricSum(metrics_asked(Phase.TRAIN, self.plan.metrics))
        return self._masked

    def masking(self, site_id: str) -> MaskingAsked | None:
        """What a site needs to mask its update."""
        return None if self._masked is None else self._masked.asked(Phase.TRAIN, site_id)

    def unmask(self) -> None:
        """Take the masks off the sums. Raises AggregationError, and then nothing can be read from them."""
        assert self._masked is not None
        assert self._sum is not None
        mask = self._masked.unmask(self._sum, self._noise)
        if self._metrics is not None:
            self._metrics.take_off(mask)

    def together(self) -> Together | None:
        """What sites have told in aggregate only, once it is unmasked; None where each tells its metrics."""
        return None if self._metrics is None else self._metrics.together()

    def take(self, contribution: Contribution) -> None:
        """Add the update to the sum, or remember where it is for a robust mean. Raises AdmissionError."""
        if self._masked is not None:
            self._take_masked(contribution, self._masked)
            return
        share = self.weights.share(contribution.occasion.site_id)
        bound = norm_bound(self.plan.aggregation, self.grid.shapes, share=share)
        use = read_through if self._sum is None else self._sum.add
        admit_update(contribution, self.grid, self.blobs, use, bound=bound)
        self._contributions.append(contribution)

    def _take_masked(self, contribution: Contribution, masked: MaskedRound) -> None:
        assert self._sum is not None
        num_sites = len(masked.roster.members)
        ring = (self._noise or self._sum).ring_bits(num_sites)
        admit_masked(contribution, self.grid, self.blobs, self._sum.add, ring=ring)
        if self._metrics is not None:
            self._metrics.add(contribution)
        masked.take_masked(contribution.occasion.site_id)
        self._contributions.append(contribution)

    def checkpoint(self) -> Checkpoint:
        """Take the step to the next checkpoint.

        Raises
        ------
        AggregationError
            Too few updates were taken in.
        NonFiniteError
            A new weight is not finite.
        """
        with self.blobs.draft() as weights, self.blobs.draft() as state:
            write_next(
                self._files(),
                CheckpointFiles(weights=weights, state=state),
                strategy_of(self.plan.aggregation),
                self.grid,
                self._changes(),
                largest_share=self.weights.largest_share,
            )
            kept = self.blobs.put_draft(weights)
            return Checkpoint(
                number=self.base.number + 1,
                weights=kept,
                state=self.blobs.put_draft(state),
                delta=self._delta_to(kept),
            )

    def _delta_to(self, weights: BlobRef) -> Delta | None:
        """What changes from the round's base to the next weights, if that is worth a way of its own."""
        base, size_bytes = self.base.weights, weights.size_bytes
        with self.blobs.draft() as draft:
            with (
                self.blobs.path(base.digest).open("rb") as old,
                self.blobs.path(weights.digest).open("rb") as new,
                draft.open("wb") as file,
            ):
                write_delta(old, new, file, old_digest=base.digest, size_bytes=size_bytes)
            if draft.stat().st_size > WORTH_A_DELTA * size_bytes:
                return None
            return Delta(since=base.digest, blob=self.blobs.put_draft(draft))

    def _changes(self) -> Iterator[Change]:
        contributions = sorted(self._contributions, key=lambda each: each.occasion.site_id)
        site_ids = [each.occasion.site_id for each in contributions]
        if self._sum is not None:
            return changes_by_sum(self._sum, self.grid, answered=self.weights.answered(site_ids))
        strategy = strategy_of(self.plan.aggregation)
        assert isinstance(strategy, RobustStrategy)
        reads = [partial(read_blocks, each, self.grid, self.blobs) for each in contributions]
        return changes_by_robust_mean(strategy, reads, self.grid, share=1 / self.weights.total)

    def _files(self) -> CheckpointFiles:
        return CheckpointFiles(
            weights=self.blobs.path(self.base.weights.digest), state=self.blobs.path(self.base.state.digest)
        )


def weights_of_run(plan: Plan, counts: Sequence[Mapping[str, int]]) -> SiteWeights | None:
    """The sites' weights, from the counts of each exchange of counting; None before a quorum is counted."""
    batches = first_of_a_quorum(counts, quorum=plan.rounds.quorum)
    if not batches:
        return None
    weights = SiteWeights.of_batches(batches)
    if strategy_of(plan.aggregation).needs_single_updates or plan.privacy.site_noise is not None:
        return weights.alike(num_first=len(batches[0]))
    return weights


def _sent(plan: Plan) -> dict[str, Shape]:
    return sent_shapes(blank_model(plan.model), plan.aggregation)
