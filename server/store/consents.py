"""What sites have said to the plans of runs, and whether they have paused.

Each row keeps the site's own signed statement, and its number: a statement that is older than the one kept is
a replay and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from server.lifecycle import CONSENT_TRANSITIONS, ConsentState, require_transition
from server.store.audit import append
from server.store.schema import consent, presence, run
from shared.audit.event import Event
from shared.audit.events import PlanApproved, PlanRejected, SiteLeft, SitePaused, SiteResumed
from shared.consent.records import Decision, Notice, Presence, Verdict
from shared.errors import NotFoundError, TrustError
from shared.store import transaction

STATE_OF = {Verdict.APPROVED: ConsentState.APPROVED, Verdict.REFUSED: ConsentState.REFUSED}
EVENT_OF: Mapping[Presence, type[SitePaused | SiteResumed | SiteLeft]] = {
    Presence.PAUSED: SitePaused,
    Presence.RESUMED: SiteResumed,
    Presence.LEFT: SiteLeft,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One site's stand on the plan of one run.

    Attributes
    ----------
    reason
        Why it refuses, for a person; empty if it does not.
    envelope
        The site's signed decision; None while there is none.
    """

    site_id: str
    state: ConsentState
    reason: str
    envelope: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDecision:
    """What a site has said to the plan of a run; `reason` says why it refuses, for a person."""

    run_name: str
    state: ConsentState
    reason: str


class Consents:
    """The register of consents and of pauses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def offer(self, run_id: str, site_id: str, *, at: float) -> None:
        """Record that a site was shown the plan of a run, unless it was before, or since it was resumed.

        Every site asks every few seconds: what is recorded already waits for nobody's write lock.
        """
        with transaction(self._engine) as connection:
            if _was_shown(connection, run_id, _find(connection, run_id, site_id)):
                return
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            row = _find(connection, run_id, site_id)
            if row is None:
                connection.execute(
                    insert(consent).values(
                        run_id=run_id,
                        site_id=site_id,
                        state=ConsentState.OFFERED,
                        number=0,
                        reason="",
                        offered_at=at,
                    )
                )
            elif not _was_shown(connection, run_id, row):
                this = (consent.c.run_id == run_id, consent.c.site_id == site_id)
                connection.execute(update(consent).where(*this).values(offered_at=at))

    def decide(self, decision: Decision, *, envelope: bytes, at: float) -> None:
        """Record a site's decision, whose signatures were verified; the same one again changes nothing.

        Raises
        ------
        NotFoundError
            The site was not asked about this run.
        TrustError
            The decision is about another plan than the run's, or older than the one kept.
        AggregationError
            It does not follow from the one kept.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            row = _find(connection, decision.run_id, decision.site_id)
            if row is None:
                raise NotFoundError("This site was not asked about such a run.", "Fetch the offers again.")
            asked = connection.execute(select(run).where(run.c.run_id == decision.run_id)).mappings().one()
            if asked["plan_sha256"] != decision.plan_sha256:
                raise TrustError("A decision is about another plan.", "Look at the plan again, then decide.")
            if not is_news(row, decision.number, envelope):
                return
            state = STATE_OF[decision.verdict]
            # The same verdict anew may have other reasons.
            if (old := ConsentState(row["state"])) is not state:
                require_transition(CONSENT_TRANSITIONS, old, state)
            refuses = state is ConsentState.REFUSED
            connection.execute(
                update(consent)
                .where(consent.c.run_id == decision.run_id, consent.c.site_id == decision.site_id)
                .values(
                    state=state,
                    number=decision.number,
                    reason=_words(decision) if refuses else "",
                    envelope=envelope,
                    decided_at=at,
                )
            )
            append(connection, _event(decision, asked["name"]), actor=decision.site_id, at=at)

    def of_run(self, run_id: str) -> list[Consent]:
        """Where each site that was asked stands, by site id."""
        query = select(consent).where(consent.c.run_id == run_id).order_by(consent.c.site_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Consent(
                site_id=row["site_id"],
                state=ConsentState(row["state"]),
                reason=row["reason"],
                envelope=row["envelope"],
            )
            for row in rows
        ]

    def last_decisions(self) -> Mapping[str, LastDecision]:
        """What each site has decided last, about any run, by site id."""
        query = (
            select(consent.c.site_id, consent.c.state, consent.c.reason, run.c.name)
            .join(run, run.c.run_id == consent.c.run_id)
            .where(consent.c.decided_at.is_not(None))
            .order_by(consent.c.decided_at)
        )
        with transaction(self._engine) as connection:
            return {
                row.site_id: LastDecision(run_name=row.name, state=ConsentState(row.state), reason=row.reason)
                for row in connection.execute(query)
            }

    def sites_in(self, state: ConsentState, run_id: str) -> frozenset[str]:
        """The sites whose consent to a run is in this state.

        None is counted as approving before it has seen that a resumed run is open again: it would refuse.
        """
        query = select(consent.c.site_id, consent.c.offered_at).where(
            consent.c.run_id == run_id, consent.c.state == state
        )
        with transaction(self._engine) as connection:
            resumed_at = _resumed_at(connection, run_id) if state is ConsentState.APPROVED else 0.0
            rows = connection.execute(query).all()
        return frozenset(row.site_id for row in rows if row.offered_at >= resumed_at)

    def note(self, notice: Notice, *, envelope: bytes, at: float) -> None:
        """Record that a site pauses or goes on; the same notice again changes nothing.

        Raises
        ------
        TrustError
            The notice is older than the one kept.
        """
        values = {
            "paused": notice.presence is not Presence.RESUMED,
            "number": notice.number,
            "envelope": envelope,
            "stated_at": at,
        }
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            of_site = presence.c.site_id == notice.site_id
            row = connection.execute(select(presence).where(of_site)).mappings().one_or_none()
            if row is None:
                connection.execute(insert(presence).values(site_id=notice.site_id, **values))
            elif is_news(row, notice.number, envelope):
                connection.execute(update(presence).where(of_site).values(**values))
            else:
                return
            event = EVENT_OF[notice.presence](subject=notice.site_id)
            append(connection, event, actor=notice.site_id, at=at)

    def paused(self) -> frozenset[str]:
        """The sites that have paused."""
        query = select(presence.c.site_id).where(presence.c.paused)
        with transaction(self._engine) as connection:
            return frozenset(connection.execute(query).scalars())


def take_write_lock(connection: Connection) -> None:
    """Keep two statements of one site apart; changes nothing."""
    connection.execute(update(consent).where(consent.c.run_id == "").values(run_id=""))


def _resumed_at(connection: Connection, run_id: str) -> float:
    """When a run was last resumed; 0 if never."""
    return connection.execute(select(run.c.resumed_at).where(run.c.run_id == run_id)).scalar_one() or 0.0


def _was_shown(connection: Connection, run_id: str, row: RowMapping | None) -> bool:
    """Whether the plan was shown to the row's site since the run was resumed."""
    return row is not None and row["offered_at"] >= _resumed_at(connection, run_id)


def _find(connection: Connection, run_id: str, site_id: str) -> RowMapping | None:
    query = select(consent).where(consent.c.run_id == run_id, consent.c.site_id == site_id)
    return connection.execute(query).mappings().one_or_none()


def is_news(row: RowMapping, number: int, envelope: bytes) -> bool:
    """Whether a statement is newer than the one kept, and not just said again.

    Raises
    ------
    TrustError
        It is older, or another one under the same number.
    """
    if number > row["number"]:
        return True
    if number == row["number"] and envelope == row["envelope"]:
        return False
    raise TrustError(
        "A site's statement is older than the one that is kept.", "Decide again at the site; nothing changed."
    )


def _event(decision: Decision, plan_name: str) -> Event:
    run_id, sha256 = decision.run_id, decision.plan_sha256
    if decision.verdict is Verdict.APPROVED:
        return PlanApproved(subject=plan_name, run_id=run_id, plan_sha256=sha256)
    return PlanRejected(subject=plan_name, run_id=run_id, plan_sha256=sha256, reason=_words(decision))


def _words(decision: Decision) -> str:
    rules = f"its policy: {', '.join(decision.rules)}" if decision.rules else ""
    return "; ".join(part for part in (decision.reason, rules) if part) or "no reason given"
