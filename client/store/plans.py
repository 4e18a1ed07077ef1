"""Plans that were offered to this site, and the statements it owes the coordinator.

A decision, the statement of it and its line in the audit log are one transaction. Statements stay until the
coordinator has them, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    Text,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)

from client.plan_states import PlanState, require_plan_transition
from client.store.audit import append
from client.store.ledger import Kind, Release, ledger
from client.store.schema import metadata
from shared.audit.event import Event
from shared.audit.events import PlanApproved, PlanRejected, PlanReopened
from shared.audit.log import take_write_lock
from shared.consent.records import Offer
from shared.errors import NotFoundError, PolicyError, TrustError, VersionError
from shared.plan import Plan
from shared.records import Phase
from shared.store import transaction

plan_table = Table(
    "plan",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("plan_sha256", String(64), nullable=False),
    Column("plan_toml", Text, nullable=False),
    Column("bundle_sha256", String(64), nullable=False),
    Column("offer", LargeBinary, nullable=False, comment="the coordinator's signed offer"),
    Column("state", String(16), nullable=False),
    Column("rules", Text, nullable=False, comment="of the policy that it breaks, JSON list"),
    Column("reason", Text, nullable=False, comment="a person's words"),
    Column("decided_by", String(80)),
    Column("received_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("decided_at", Float),
    Column("closed_from", String(16), comment="where it stood when its run was over"),
    CheckConstraint("state IN ('waiting', 'barred', 'approved', 'rejected', 'over')", name="state_known"),
)

statement = Table(
    "statement",
    metadata,
    Column("number", Integer, primary_key=True, comment="grows; the coordinator refuses an older one"),
    Column("run_id", String(63), comment="null for a notice about the whole site"),
    Column("envelope", LargeBinary, nullable=False),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("delivered_at", Float),
)

MakeStatement = Callable[[int], bytes]
"""Makes the signed envelope of a statement with this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedPlan:
    """The plan of a run, as it stands here.

    Attributes
    ----------
    rules
        Names of the rules of the policy that it breaks, as of the last look.
    decided_by
        Who took the decision that holds: as the audit log names them; None while there is none.
    """

    run_id: str
    plan: Plan
    bundle_sha256: str
    state: PlanState
    rules: tuple[str, ...]
    reason: str
    decided_by: str | None
    received_at: float
    decided_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedStatement:
    """A statement that the coordinator does not have yet; of no run if it is about the whole site."""

    number: int
    run_id: str | None
    envelope: bytes


class Plans:
    """The register of offered plans."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, offer: Offer, *, envelope: bytes, at: float) -> bool:
        """Keep an offer whose signature was verified; whether it is new, or open again.

        Raises
        ------
        TrustError
            The run was offered under another plan, or another version of the app, before, which stays.
        """
        plan = Plan.from_toml(offer.plan_toml)
        if plan.sha256 != offer.plan_sha256:
            raise TrustError("An offered plan is not the one that it names.", "Tell the coordinator.")
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            known = _find(connection, offer.run_id)
            if known is not None:
                if known["plan_sha256"] != plan.sha256:
                    raise TrustError(
                        "A run was offered again under another plan.",
                        "Tell the coordinator: a changed plan is a run of its own; the first one holds.",
                    )
                if known["bundle_sha256"] != offer.bundle_sha256:
                    raise VersionError(
                        "A run was offered again under another version of the protocol.",
                        "Tell the coordinator: it was approved for the version before, and ends under that.",
                    )
                if PlanState(known["state"]) is not PlanState.OVER:
                    return False
                _reopen(connection, known, at=at)
                return True
            connection.execute(
                insert(plan_table).values(
                    run_id=offer.run_id,
                    plan_sha256=offer.plan_sha256,
                    plan_toml=offer.plan_toml,
                    bundle_sha256=offer.bundle_sha256,
                    offer=envelope,
                    state=PlanState.WAITING,
                    rules="[]",
                    reason="",
                    received_at=at,
                )
            )
        return True

    def close(self, *, still_open: Collection[str]) -> None:
        """Plans of runs that the coordinator does not offer any more are over."""
        for each in self.all():
            if each.state is not PlanState.OVER and each.run_id not in still_open:
                with transaction(self._engine) as connection:
                    _set(connection, each.run_id, state=PlanState.OVER, closed_from=each.state)

    def all(self) -> list[OfferedPlan]:
        """Every plan, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(plan_table).order_by(plan_table.c.received_at)).mappings().all()
        return [_to_plan(row) for row in rows]

    def get(self, run_id: str) -> OfferedPlan:
        """The plan of a run. Raises NotFoundError."""
        with transaction(self._engine) as connection:
            return _to_plan(_load(connection, run_id))

    def last_approved(self, *, before: OfferedPlan) -> OfferedPlan | None:
        """The plan that was approved last among those that came before this one."""
        approved = (
            each
            for each in self.all()
            if each.decided_at is not None
            and each.state in {PlanState.APPROVED, PlanState.OVER}
            and not each.reason
            and not each.rules
            and each.received_at < before.received_at
        )
        return max(approved, key=lambda each: each.decided_at or 0, default=None)

    def note_rules(self, run_id: str, rules: tuple[str, ...], *, waits: bool) -> None:
        """Note which rules a plan breaks by now; one that waits again breaks none."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            if waits:
                require_plan_transition(_state(connection, run_id), PlanState.WAITING)
                _set(connection, run_id, state=PlanState.WAITING, decided_by=None, decided_at=None)
            _set(connection, run_id, rules=json.dumps(rules))

    def decide(
        self,
        run_id: str,
        state: PlanState,
        *,
        actor: str,
        reason: str,
        rules: tuple[str, ...],
        make: MakeStatement,
        at: float,
    ) -> None:
        """Approve, reject or bar a plan, state it and write it down, all or nothing.

        Raises
        ------
        NotFoundError
            No plan of this run was offered.
        PolicyError
            Its state does not allow it.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            row = _load(connection, run_id)
            old = PlanState(row["state"])
            if old is PlanState.OVER and state is not PlanState.REJECTED:
                raise PolicyError(
                    "The run of this plan is over.", "If it is resumed, the plan stands where it stood."
                )
            # Barred anew: by other rules than before.
            if old is not PlanState.BARRED or state is not old:
                require_plan_transition(old, state)
            _set(
                connection,
                run_id,
                state=state,
                rules=json.dumps(rules),
                reason=reason,
                decided_by=actor,
                decided_at=at,
            )
            _owe(connection, run_id, make, at)
            name, sha256 = Plan.from_toml(row["plan_toml"]).name, row["plan_sha256"]
            words = reason or ", ".join(rules) or None
            event = (
                PlanApproved(subject=name, run_id=run_id, plan_sha256=sha256)
                if state is PlanState.APPROVED
                else PlanRejected(subject=name, run_id=run_id, plan_sha256=sha256, reason=words)
            )
            append(connection, event, actor=actor, at=at)

    def state_notice(self, make: MakeStatement, *, event: Event | None, actor: str, at: float) -> None:
        """Owe the coordinator a statement about the whole site, and write down what has happened, if any."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            _owe(connection, None, make, at)
            if event is not None:
                append(connection, event, actor=actor, at=at)

    def owed(self) -> list[OwedStatement]:
        """What the coordinator does not have yet, oldest first."""
        query = (
            select(statement.c.number, statement.c.run_id, statement.c.envelope)
            .where(statement.c.delivered_at.is_(None))
            .order_by(statement.c.number)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [OwedStatement(**row) for row in rows]

    def settle(self, number: int, *, envelope: bytes, at: float) -> None:
        """Note that the coordinator has answered to a statement, in the form in which it was sent."""
        with transaction(self._engine) as connection:
            connection.execute(
                update(statement)
                .where(statement.c.number == number)
                .values(delivered_at=at, envelope=envelope)
            )

    def releases_of(self, run_id: str) -> list[Release]:
        """Every update, count and evaluation that the ledger let go for a run, each as often as it left."""
        columns = (ledger.c.round_number, ledger.c.attempt, ledger.c.phase, ledger.c.base_sha256)
        query = select(*columns).where(
            ledger.c.run_id == run_id,
            or_(
                ledger.c.kind == Kind.UPDATE,
                and_(ledger.c.kind == Kind.CONTRIBUTION, ledger.c.phase != Phase.TRAIN),
            ),
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return [
            Release(round_number=number, attempt=attempt, phase=Phase(phase), base_sha256=base_sha256)
            for number, attempt, phase, base_sha256 in rows
        ]


def _owe(connection: Connection, run_id: str | None, make: MakeStatement, at: float) -> None:
    last = connection.execute(select(func.max(statement.c.number))).scalar_one()
    # Not below the time: numbers must go on growing also after the home was restored from a backup.
    number = max((last or 0) + 1, int(at))
    connection.execute(insert(statement).values(number=number, run_id=run_id, envelope=make(number), at=at))


def _reopen(connection: Connection, row: RowMapping, *, at: float) -> None:
    """A run is resumed: its plan stands where it stood, and of that is told."""
    state = PlanState(row["closed_from"] or PlanState.WAITING)
    require_plan_transition(PlanState.OVER, state)
    _set(connection, row["run_id"], state=state, closed_from=None)
    plan = Plan.from_toml(row["plan_toml"])
    event = PlanReopened(subject=plan.name, run_id=row["run_id"], plan_sha256=plan.sha256)
    append(connection, event, actor="coordinator", at=at)


def _find(connection: Connection, run_id: str) -> RowMapping | None:
    query = select(plan_table).where(plan_table.c.run_id == run_id)
    return connection.execute(query).mappings().one_or_none()


def _load(connection: Connection, run_id: str) -> RowMapping:
    if (row := _find(connection, run_id)) is None:
        raise NotFoundError(
            f"No plan of a run '{run_id}' was offered to this site.", "`mammofed-site plans` shows all plans."
        )
    return row


def _state(connection: Connection, run_id: str) -> PlanState:
    return PlanState(_load(connection, run_id)["state"])


def _set(connection: Connection, run_id: str, **values: object) -> None:
    connection.execute(update(plan_table).where(plan_table.c.run_id == run_id).values(**values))


def _to_plan(row: RowMapping) -> OfferedPlan:
    return OfferedPlan(
        run_id=row["run_id"],
        plan=Plan.from_toml(row["plan_toml"]),
        bundle_sha256=row["bundle_sha256"],
        state=PlanState(row["state"]),
        rules=tuple(json.loads(row["rules"])),
        reason=row["reason"],
        decided_by=row["decided_by"],
        received_at=row["received_at"],
        decided_at=row["decided_at"],
    )
