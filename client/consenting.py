"""What this site says to plans: offers come in, the policy and persons decide, statements go out.

The coordinator's offer holds the plan alone. A plan that breaks the policy is refused by itself; one that
keeps to it waits for a person, unless the policy says that none is needed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import grpc

from client.budget import Budget
from client.catalog import Catalog
from client.consent_channel import ConsentChannel
from client.enrolment import Membership
from client.guard import Guard
from client.home import SiteHome
from client.plan_states import PlanState
from client.published import keep_up
from client.situation import SituationTelling
from client.standing import learn
from client.store.audit import AuditLog, Persons
from client.store.evaluations import Evaluations
from client.store.ledger import Kind, Ledger, LedgerEntry, Rule, names_in
from client.store.models import Models
from client.store.noisy_rounds import NoisyRounds
from client.store.opening import open_site_store
from client.store.personal_models import PersonalModels
from client.store.plans import OfferedPlan, Plans
from client.store.situations import Situations
from shared.audit.events import PolicyChanged, SitePaused, SiteResumed
from shared.audit.settings import note_settings
from shared.consent import consent_pb2
from shared.consent.records import (
    DECISION_TYPE,
    MAX_REASON_CHARACTERS,
    NOTICE_TYPE,
    OFFER_TYPE,
    OWNER,
    POLICY,
    STATED_DECISION_TYPE,
    Decision,
    Notice,
    Offer,
    Presence,
    StatedDecision,
    Verdict,
    is_plain,
)
from shared.errors import ConfigError, MammofedError, PolicyError, PolicyFileError, TrustError
from shared.persons.acting import Actor
from shared.persons.token import PersonToken
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
VERDICT_OF = {
    PlanState.APPROVED: Verdict.APPROVED,
    PlanState.REJECTED: Verdict.REFUSED,
    PlanState.BARRED: Verdict.REFUSED,
}
EVENT_OF: Mapping[Presence, type[SitePaused | SiteResumed]] = {
    Presence.PAUSED: SitePaused,
    Presence.RESUMED: SiteResumed,
}
"""Of leaving is told when the membership ends, not when it is wished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """Who decides at the terminal, with the token that proves it if there are named persons."""

    actor: Actor
    token: PersonToken | None

    @property
    def stated_name(self) -> str:
        """The name that leaves the site: a named person's, but no user name of the operating system."""
        return self.actor.name if self.token is not None else OWNER


class Consenting:
    """The plans of one home, opened. Close when done."""

    def __init__(self, home: SiteHome) -> None:
        self._home = home
        self._engine = open_site_store(home.folder)
        self._channel = ConsentChannel(home)
        self._complaints: set[str] = set()
        self._ledger = Ledger(self._engine)
        self._log = AuditLog(self._engine)
        self.plans = Plans(self._engine)
        self.evaluations = Evaluations(self._engine)
        self.personal_models = PersonalModels(self._engine)
        self.models = Models(self._engine)
        self.persons = Persons(self._engine)
        catalog = Catalog(self._engine, home.folder)
        budget = Budget(rounds=NoisyRounds(self._engine), catalog=catalog)
        self.guard = Guard(home, self.plans, catalog, budget)
        self._situation = SituationTelling(
            home, situations=Situations(self._engine), catalog=catalog, ledger=self._ledger
        )

    def __enter__(self) -> Consenting:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._engine.dispose()

    # -- offers

    def tend(self) -> None:
        """Fetch what is offered, let the policy decide what it can, and say what is owed.

        Raises
        ------
        HomeError
            The site has not joined.
        UnreachableError
            The coordinator does not answer.
        TrustError
            It does not accept this site.
        """
        self._note_policy()
        self._fetch_offers()
        self.apply_policy()
        self.deliver()
        self._situation.tell(self._channel, self._home.membership())

    def _note_policy(self) -> None:
        file = self._home.policy_file
        note_settings(
            self._log,
            file.read_bytes() if file.exists() else b"",
            subject="policy.toml",
            event=PolicyChanged,
            actor=self._home.membership().site_id,
            at=time.time(),
        )

    def _fetch_offers(self) -> None:
        membership = self._home.membership()
        with self._channel.calling(membership) as stub:
            reply = stub.Offers(consent_pb2.OffersRequest(), timeout=CALL_TIMEOUT_S)
            try:
                keep_up(stub, self.models, membership, told_sha256=reply.published_sha256)
            except TrustError as error:
                self._complain(f"the list of models is not kept: {error.message} {error.hint}")
                learn(self._home)  # it may be signed by a key that the coordinator has now
        open_runs, unread = [], 0
        for content in reply.envelope:
            try:
                offer = _read_offer(content, membership)
            except MammofedError as error:
                unread += 1
                self._complain(f"an offer is not kept: {error.message} {error.hint}")
                continue
            open_runs.append(offer.run_id)
            try:
                if self.plans.keep(offer, envelope=content, at=time.time()):
                    log.info("the plan of %s is offered", offer.run_id)
            except MammofedError as error:
                self._complain(f"the offer of {offer.run_id} is not kept: {error.message} {error.hint}")
        if unread:
            # It may be of any run that is known here, and signed by a key that the coordinator has now.
            learn(self._home)
        else:
            self.plans.close(still_open=open_runs)

    def _complain(self, complaint: str) -> None:
        """Say what is wrong once, not at each look."""
        if complaint not in self._complaints:
            self._complaints.add(complaint)
            log.error("%s", complaint)

    def apply_policy(self) -> None:
        """Bar the plans that break the policy by now; approve those for which it needs no person.

        What was approved without a person waits for one as soon as the policy says that one is needed.
        """
        membership = self._home.membership()
        self._ask_persons_again()
        for offered in self.plans.all():
            if offered.state not in {PlanState.WAITING, PlanState.BARRED}:
                continue
            rules = self.guard.broken_rules(offered, membership)
            if rules and (offered.state is PlanState.WAITING or rules != offered.rules):
                log.error("%s breaks this site's policy: %s", offered.run_id, ", ".join(rules))
                self._decide(offered, PlanState.BARRED, rules=rules)
            elif not rules and offered.state is PlanState.BARRED:
                self.plans.note_rules(offered.run_id, (), waits=True)
            if not rules and self._needs_nobody():
                self._decide(self.plans.get(offered.run_id), PlanState.APPROVED)

    def _ask_persons_again(self) -> None:
        with contextlib.suppress(PolicyFileError):  # which lets nothing go on by itself
            for offered in self.plans.all():
                if self.guard.needs_person(offered):
                    log.error("%s was approved without a person and waits for one now", offered.run_id)
                    self.plans.note_rules(offered.run_id, (), waits=True)

    def _needs_nobody(self) -> bool:
        try:
            return self.guard.policy().approval == "not needed"
        except PolicyFileError:
            return False

    # -- decisions

    def approve(self, run_id: str, decider: Decider) -> OfferedPlan:
        """Approve a plan, if it keeps to the policy as it stands now.

        Raises
        ------
        NotFoundError
            No such plan was offered.
        PolicyError
            It breaks the policy, or its state does not allow it.
        PolicyFileError
            The policy cannot be read.
        """
        offered = self.plans.get(run_id)
        broken = [each for each in self.guard.rulings(offered, self._home.membership()) if not each.met]
        if broken:
            raise PolicyError(
                f"The plan breaks this site's policy. {'; '.join(f'{b.rule}: {b.words}' for b in broken)}.",
                "Reject it, or have policy.toml changed by whoever answers for it.",
                rules=tuple(each.rule for each in broken),
            )
        if offered.state is PlanState.BARRED:
            self.plans.note_rules(run_id, (), waits=True)
        self._decide(offered, PlanState.APPROVED, decider=decider)
        return self.plans.get(run_id)

    def reject(self, run_id: str, reason: str, decider: Decider) -> OfferedPlan:
        """Reject a plan, or take its approval back.

        Raises
        ------
        NotFoundError
            No such plan was offered.
        PolicyError
            Its state does not allow it.
        """
        self._decide(self.plans.get(run_id), PlanState.REJECTED, decider=decider, reason=reason)
        return self.plans.get(run_id)

    def _decide(
        self,
        offered: OfferedPlan,
        state: PlanState,
        *,
        decider: Decider | None = None,
        reason: str = "",
        rules: tuple[str, ...] = (),
    ) -> None:
        membership, now = self._home.membership(), time.time()

        def make(number: int) -> bytes:
            decision = Decision(
                number=number,
                site_id=membership.site_id,
                run_id=offered.run_id,
                plan_sha256=offered.plan.sha256,
                verdict=VERDICT_OF[state],
                actor=decider.stated_name if decider else POLICY,
                reason=reason,
                rules=rules,
                decided_at=now,
            )
            return self._stated(decision, decider.token if decider else None)

        self.plans.decide(
            offered.run_id,
            state,
            actor=decider.actor.name if decider else POLICY,
            reason=reason,
            rules=rules,
            make=make,
            at=now,
        )

    def _stated(self, decision: Decision, token: PersonToken | None) -> bytes:
        key, envelope = None, None
        if token is not None:
            key = self.persons.find(token).verify_key
            envelope = self.persons.sign_as(token, DECISION_TYPE, decision.to_bytes())
        stated = StatedDecision.of(decision, key, envelope)
        return sign(STATED_DECISION_TYPE, stated.to_bytes(), self._signing_key()).to_bytes()

    # -- the whole site

    def state_presence(self, presence: Presence, *, actor: str) -> None:
        """Owe the coordinator a word on whether this site is there, and write down a pause or its end."""
        membership = self._home.membership()

        def make(number: int) -> bytes:
            notice = Notice(number=number, site_id=membership.site_id, presence=presence)
            return sign(NOTICE_TYPE, notice.to_bytes(), self._signing_key()).to_bytes()

        kind = EVENT_OF.get(presence)
        event = None if kind is None else kind(subject=membership.site_id)
        self.plans.state_notice(make, event=event, actor=actor, at=time.time())

    def deliver(self) -> frozenset[str | None]:
        """Say what is owed, in order; what the coordinator refuses for good is not said again.

        Returns
        -------
        frozenset
            Runs about which it has refused a statement; None stands for a word on the whole site.

        Raises
        ------
        UnreachableError, TrustError
            As `tend`.
        """
        owed = self.plans.owed()
        refused: set[str | None] = set()
        if not owed:
            return frozenset()
        key = self._signing_key()
        with self._channel.calling(self._home.membership()) as stub:
            for each in owed:
                envelope = _signed_anew(each.envelope, key)
                self._write_down(envelope)
                try:
                    stub.State(consent_pb2.StateRequest(envelope=envelope), timeout=CALL_TIMEOUT_S)
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                        raise
                    log.error("the coordinator refuses a statement of this site: %s", error.details())
                    refused.add(each.run_id)
                else:
                    refused.discard(each.run_id)
                self.plans.settle(each.number, envelope=envelope, at=time.time())
        return frozenset(refused)

    def _write_down(self, envelope: bytes) -> None:
        """A line of the ledger for a statement that is about to leave."""
        blob = BlobRef.of(envelope)
        document = json.loads(Envelope.from_bytes(envelope).unverified_payload)
        self._ledger.append(
            LedgerEntry(
                kind=Kind.STATEMENT,
                rule=Rule.DECISIONS,
                names=tuple(names_in(document)),
                size_bytes=blob.size_bytes,
                sha256=blob.digest,
            ),
            at=time.time(),
        )

    def _signing_key(self) -> SigningKey:
        return SigningKey.load(self._home.keys(self._home.membership().key_generation).signing)


def check_reason(reason: str) -> str:
    """A person's reason, if it can leave the site.

    Raises
    ------
    ConfigError
        It is empty, too long, or holds more than plain words.
    """
    if not 0 < len(reason) <= MAX_REASON_CHARACTERS or not is_plain(reason):
        raise ConfigError(
            "The reason cannot leave this site as it is.",
            f"Use at most {MAX_REASON_CHARACTERS} characters of plain words: no path, no address, no UID.",
        )
    return reason


def _read_offer(content: bytes, membership: Membership) -> Offer:
    envelope = Envelope.from_bytes(content)
    offer = Offer.from_bytes(verify(envelope, OFFER_TYPE, membership.anchors.signing_key))
    if offer.site_id != membership.site_id:
        raise TrustError("An offer is meant for another site.", "Tell the coordinator.")
    return offer


def _signed_anew(content: bytes, key: SigningKey) -> bytes:
    """A statement of this site's own, under its current key if that has changed since."""
    envelope = Envelope.from_bytes(content)
    if envelope.key_id == key.verify_key.key_id:
        return content
    return sign(envelope.payload_type, envelope.unverified_payload, key).to_bytes()
