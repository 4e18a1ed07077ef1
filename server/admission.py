"""The gate into the aggregate: nothing that a site sends is believed until it has passed here.

A reply is checked in this order:

1. it is an envelope of the expected kind, signed by the site's own key;
2. it answers exactly the occasion that this site was asked for;
3. its count of examples is plausible, and what it tells of an evaluation can be true (`server.credibility`);
   where metrics are told in aggregate only, that it tells none for itself, and just the words asked for;
4. its update is none of the coordinator's own blobs: an update is dropped after its round;
5. its update is the announced blob, with the exact names, shapes and steps of the round's grid, and its norm
   within the plan's bound, if the plan sets one; of a masked update only that it has the form of one, for its
   values are noise here.

The store records each answer once, so that a second reply for the same occasion cannot pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from server.credibility import check_evaluation
from server.strategies.strategy import ReadUpdate
from shared.errors import AdmissionError, MammofedError, NotFoundError, TamperedError, WeightsError
from shared.fixed_point.grid import Grid, Integers
from shared.fixed_point.masked_file import read_masked
from shared.fixed_point.norm import NormBound
from shared.fixed_point.update_file import read_update
from shared.masking.metric_words import WORD_CHARACTERS
from shared.plan import MetricName
from shared.records import (
    CONTRIBUTION_TYPE,
    MASKING_PHASES,
    REFUSAL_TYPE,
    Contribution,
    Occasion,
    Phase,
    Refusal,
)
from shared.transfer.blob_store import BlobStore
from shared.trust.envelope import Envelope, verify
from shared.trust.keys import VerifyKey

MAX_EXAMPLES = 10_000_000

ReadMasked = Callable[[], Iterator[NDArray[np.int32]]]
"""Reads a masked update from its beginning, block by block."""


def read_answer(
    envelope_bytes: bytes,
    expected: Occasion,
    key: VerifyKey,
    *,
    asked: Collection[MetricName],
    personal: bool = False,
    noisy: bool = False,
    num_words: int | None = None,
) -> Contribution | Refusal:
    """Checks 1 to 3 of a reply.

    Parameters
    ----------
    asked
        The metrics that the site was asked for.
    personal
        Whether it was asked for those of a model of its own, too.
    noisy
        Whether it was asked for an update under noise, and so for its epsilon.
    num_words
        That metrics in aggregate have; None where it was asked for its own.

    Raises
    ------
    AdmissionError
        A check failed; the message says which.
    """
    try:
        answer = _verified(envelope_bytes, key)
    except MammofedError as error:
        raise _rejected(error.message) from error
    if answer.occasion != expected:
        raise _rejected("It answers another occasion than the one that was asked.")
    if isinstance(answer, Contribution):
        _check_counts(answer)
        _check_form_of_metrics(answer, num_words)
        if answer.evaluation is not None:
            check_evaluation(answer.evaluation, asked)
        if answer.personal_evaluation is not None:
            _check_personal(answer, asked if personal else None)
        if answer.appearance is not None and "appearance" not in asked:
            raise _rejected("It tells how images look, which was not asked for.")
        if (answer.epsilon is not None) is not noisy:
            raise _rejected("It tells of privacy spent where that was not asked, or does not where it was.")
    return answer


def _verified(envelope_bytes: bytes, key: VerifyKey) -> Contribution | Refusal:
    envelope = Envelope.from_bytes(envelope_bytes)
    if envelope.payload_type == REFUSAL_TYPE:
        return Refusal.from_bytes(verify(envelope, REFUSAL_TYPE, key))
    return Contribution.from_bytes(verify(envelope, CONTRIBUTION_TYPE, key))


def _check_counts(contribution: Contribution) -> None:
    phase = contribution.occasion.phase
    if (contribution.masking is not None) != (phase in MASKING_PHASES):
        raise _rejected("It tells of masks where that was not asked, or does not where it was.")
    if contribution.update is None and phase is Phase.TRAIN:
        raise _rejected("A training answer lacks its update.")
    if contribution.update is not None and phase is not Phase.TRAIN:
        raise _rejected(
            "An evaluation brings an update." if phase is Phase.EVALUATE else f"A {phase} brings one."
        )
    least, most = (1, MAX_EXAMPLES) if phase in {Phase.COUNT, Phase.TRAIN} else (0, 0)
    if not least <= contribution.num_examples <= most:
        raise _rejected("It lacks a plausible number of examples.")


def _check_form_of_metrics(contribution: Contribution, num_words: int | None) -> None:
    told = contribution.masked_metrics
    if num_words is None:
        if told is not None:
            raise _rejected("It tells metrics in aggregate, where its own were asked for.")
        return
    if told is None or len(told) != num_words * WORD_CHARACTERS:
        raise _rejected("Its metrics under a mask have another form than was asked for.")
    in_the_clear = (
        contribution.train_loss,
        contribution.evaluation,
        contribution.personal_evaluation,
        contribution.appearance,
    )
    if any(each is not None for each in in_the_clear):
        raise _rejected("It tells metrics for itself, which were asked for in aggregate only.")


def _check_personal(contribution: Contribution, asked: Collection[MetricName] | None) -> None:
    told, beside = contribution.personal_evaluation, contribution.evaluation
    if asked is None or told is None or beside is None:
        raise _rejected("It tells of a model of its own that nobody asked for.")
    check_evaluation(told, asked)
    if told.num_examples != beside.num_examples:
        raise _rejected("It tells of its own model over other images than of the common one.")


def check_ownership(contribution: Contribution, own_digests: frozenset[str]) -> None:
    """Check 4, against the digests of the coordinator's own blobs.

    Raises
    ------
    AdmissionError
        The update names one of them.
    """
    if contribution.update is not None and contribution.update.digest in own_digests:
        raise _rejected("Its update is a blob of the coordinator.")


def admit_update(
    contribution: Contribution,
    grid: Grid,
    blobs: BlobStore,
    use: Callable[[ReadUpdate], None],
    *,
    bound: NormBound | None = None,
) -> None:
    """Check 5: the update itself, read once to its end by whoever uses it.

    Parameters
    ----------
    use
        Reads the update; of one that turns out to be none it keeps nothing.
    bound
        On its norm, for a site of this one's share.

    Raises
    ------
    AdmissionError
        A check failed; the message says which.
    """
    assert contribution.update is not None
    try:
        blobs.verify(contribution.update)
        read = partial(read_blocks, contribution, grid, blobs)
        use(read if bound is None else lambda: bound.checked(grid, read()))
    except (NotFoundError, TamperedError, WeightsError) as error:
        raise _rejected(error.message) from error


def admit_masked(
    contribution: Contribution,
    grid: Grid,
    blobs: BlobStore,
    use: Callable[[ReadMasked], None],
    *,
    ring: int,
) -> None:
    """Check 5 of a masked update: that it has the form of one. Its values are noise to everybody here.

    Raises
    ------
    AdmissionError
        A check failed; the message says which.
    """
    update = contribution.update
    assert update is not None
    try:
        blobs.verify(update)

        def read() -> Iterator[NDArray[np.int32]]:
            with blobs.path(update.digest).open("rb") as file:
                yield from read_masked(file, grid, ring=ring)

        use(read)
    except (NotFoundError, TamperedError, WeightsError) as error:
        raise _rejected(error.message) from error


def read_through(read: ReadUpdate) -> None:
    """Use of an update that is needed later: nothing but the look at every block of it."""
    deque(read(), maxlen=0)


def read_blocks(contribution: Contribution, grid: Grid, blobs: BlobStore) -> Iterator[Integers]:
    """An update, block by block.

    Raises
    ------
    WeightsError
        It is not an update on this grid.
    """
    assert contribution.update is not None
    with blobs.path(contribution.update.digest).open("rb") as file:
        yield from read_update(file, grid)


def _rejected(reason: str) -> AdmissionError:
    return AdmissionError(f"A contribution was rejected. {reason}", "Ask the site for its log of this round.")
