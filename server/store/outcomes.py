"""What became of each site's answers so far: how many examples it counted, and which contribution counts."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, func, select

from server.lifecycle import AnswerState, RoundState
from server.store.schema import ATTEMPT_KEY, answer, consent, round_, run
from shared.audit.schema import audit
from shared.plan import Plan
from shared.records import MAX_REASON_CHARACTERS, Contribution, Counted, Phase, Rejected
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of one site.

    Attributes
    ----------
    counted
        Its last contribution that is in a checkpoint.
    rejected
        Its last one that was not let in, if that is later.
    """

    counted: Counted | None = None
    rejected: Rejected | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """That a site took part in a round that is in a checkpoint; the hash of what it signed."""

    number: int
    attempt: int
    site_id: str
    envelope_sha256: str


class Outcomes:
    """Reads the register of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, run_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """By site id, for the sites of which there is something to tell.

        Parameters
        ----------
        run_ids
            A run and those that it goes on from, oldest first.
        """
        with transaction(self._engine) as connection:
            counted = _counted(connection, run_ids)
            rejected = _rejected(connection, run_ids[-1])
        for site_id in counted.keys() & rejected.keys():
            last = counted[site_id]
            if last.run_id == run_ids[-1] and last.round_number >= rejected[site_id].round_number:
                del rejected[site_id]
        return {
            site_id: Outcome(counted=counted.get(site_id), rejected=rejected.get(site_id))
            for site_id in counted.keys() | rejected.keys()
        }

    def num_aggregated(self) -> Mapping[str, int]:
        """How many rounds of each run are in a checkpoint, by run id; runs without any are left out."""
        query = (
            select(round_.c.run_id, func.count().label("num"))
            .where(round_.c.phase == Phase.TRAIN.value, round_.c.state == RoundState.AGGREGATED)
            .group_by(round_.c.run_id)
        )
        with transaction(self._engine) as connection:
            return {row.run_id: row.num for row in connection.execute(query)}

    def stamp(self, run_id: str) -> Hashable:
        """Something that is another one whenever anything of a run has changed; cheaper than to read it.

        Every change of it is a line of the audit log, but for a plan that was shown or decided on, and for
        how far sites are in an open attempt.
        """
        last = select(func.max(audit.c.sequence)).where(audit.c.subject == run_id)
        consents = (
            select(consent.c.state, func.count(), func.max(consent.c.decided_at))
            .where(consent.c.run_id == run_id)
            .group_by(consent.c.state)
            .order_by(consent.c.state)
        )
        opened = select(*(round_.c[name] for name in ATTEMPT_KEY)).where(
            round_.c.run_id == run_id, round_.c.state == RoundState.OPEN
        )
        steps = select(func.count(answer.c.fetched_at), func.count(answer.c.sending_at))
        with transaction(self._engine) as connection:
            return (
                connection.execute(last).scalar_one(),
                tuple(map(tuple, connection.execute(consents))),
                *(
                    tuple(connection.execute(steps.where(_is(key))).one())
                    for key in connection.execute(opened).mappings().all()
                ),
            )

    def told_examples(self) -> Mapping[str, int]:
        """Training examples by site id, as each site last told them in any run."""
        query = (
            select(answer.c.site_id, answer.c.payload)
            .where(
                answer.c.run_id.in_(select(run.c.run_id)),  # lets the key be searched instead of all answers
                answer.c.phase == Phase.COUNT.value,
                answer.c.state == AnswerState.ADMITTED,
            )
            .order_by(answer.c.answered_at)
        )
        with transaction(self._engine) as connection:
            last = {row.site_id: row.payload for row in connection.execute(query)}
        return {
            site_id: Contribution.from_bytes(payload.encode()).num_examples
            for site_id, payload in last.items()
        }

    def receipts(self, run_id: str) -> list[Receipt]:
        """Of every contribution that is in a checkpoint of a run, by round and site."""
        query = (
            select(answer.c.number, answer.c.attempt, answer.c.site_id, answer.c.envelope)
            .join(round_, and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY)))
            .where(
                answer.c.run_id == run_id,
                answer.c.phase == Phase.TRAIN.value,
                answer.c.state == AnswerState.ADMITTED,
                answer.c.envelope.is_not(None),
                round_.c.state == RoundState.AGGREGATED,
            )
            .order_by(answer.c.number, answer.c.site_id)
        )
        with transaction(self._engine) as connection:
            return [
                Receipt(
                    number=row.number,
                    attempt=row.attempt,
                    site_id=row.site_id,
                    envelope_sha256=hashlib.sha256(row.envelope).hexdigest(),
                )
                for row in connection.execute(query)
            ]

    def counts(self, run_ids: Sequence[str]) -> list[Mapping[str, int]]:
        """Training examples by site, of each exchange in which sites were counted, in order."""
        with transaction(self._engine) as connection:
            return counts(connection, run_ids)


def _is(key: RowMapping) -> ColumnElement[bool]:
    """Where the answers of an attempt stand."""
    return and_(*(answer.c[name] == value for name, value in key.items()))


def counts(connection: Connection, run_ids: Sequence[str]) -> list[Mapping[str, int]]:
    """As `Outcomes.counts`, within a transaction that its caller has begun."""
    query = (
        select(answer.c.run_id, answer.c.attempt, answer.c.site_id, answer.c.payload)
        .where(
            answer.c.run_id.in_(run_ids),
            answer.c.phase == Phase.COUNT.value,
            answer.c.state == AnswerState.ADMITTED,
        )
        .order_by(answer.c.attempt, answer.c.site_id)
    )
    rows = sorted(connection.execute(query).all(), key=lambda row: run_ids.index(row.run_id))
    batches: dict[tuple[str, int], dict[str, int]] = {}
    for row in rows:
        num_examples = Contribution.from_bytes(row.payload.encode()).num_examples
        batches.setdefault((row.run_id, row.attempt), {})[row.site_id] = num_examples
    return list(batches.values())


def last_counts(connection: Connection, run_id: str) -> Mapping[str, int]:
    """Training examples by site, as they were last counted in a run or in those that it goes on from."""
    plan_toml = connection.execute(select(run.c.plan_toml).where(run.c.run_id == run_id)).scalar_one()
    batches = counts(connection, Plan.from_toml(plan_toml).lineage(run_id))
    return {site_id: count for batch in batches for site_id, count in batch.items()}


def _counted(connection: Connection, run_ids: Sequence[str]) -> dict[str, Counted]:
    query = (
        select(answer.c.site_id, answer.c.run_id, func.max(answer.c.number).label("number"))
        .join(round_, and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY)))
        .where(
            answer.c.run_id.in_(run_ids),
            answer.c.phase == Phase.TRAIN.value,
            answer.c.state == AnswerState.ADMITTED,
            round_.c.state == RoundState.AGGREGATED,
        )
        .group_by(answer.c.site_id, answer.c.run_id)
    )
    rows = sorted(connection.execute(query).all(), key=lambda row: run_ids.index(row.run_id))
    return {row.site_id: Counted(run_id=row.run_id, round_number=row.number) for row in rows}


def _rejected(connection: Connection, run_id: str) -> dict[str, Rejected]:
    query = (
        select(answer.c.site_id, answer.c.number, answer.c.attempt, answer.c.reason)
        .where(
            answer.c.run_id == run_id,
            answer.c.phase == Phase.TRAIN.value,
            answer.c.state == AnswerState.REJECTED,
        )
        .order_by(answer.c.number, answer.c.attempt)
    )
    return {
        row.site_id: Rejected(round_number=row.number, attempt=row.attempt, reason=_printable(row.reason))
        for row in connection.execute(query)
    }


def _printable(reason: str | None) -> str:
    return (reason or "no reason").encode("ascii", "replace").decode()[:MAX_REASON_CHARACTERS]
