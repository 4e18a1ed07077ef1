"""A federation in memory: a real coordinator, and sites with real keys that can be told to go rogue.

The coordinator has its real store, blobs and keys below a folder. Sites verify real announcements and answer
with real signed envelopes and real updates; only the training is replaced, by noise drawn from the site's
name, the round and the attempt. As real sites do, they keep what they have computed, and send just that when
they are asked again. What a site does in a round is one function of `SimulatedSite` and `Asked`:

    federation["bergen"].does(send_nan, in_round=2)
"""

from __future__ import annotations

import functools
import hashlib
import io
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.masking import Demands, Parties, Party
from server.channel import Outgoing, Reply
from server.coordinator import Coordinator
from server.enrolment import EnrolledSite, SiteKeys
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings, ExportForm
from server.lifecycle import AnswerState, RunState
from server.rounds import run_rounds
from server.store import Answer, Checkpoint, Run
from server.store.memberships import RenewedKeys
from shared.appearance import Appearance
from shared.audit import checkpoints
from shared.audit.chain import GENESIS
from shared.chance import KEY_BITS, chance_of
from shared.consent.records import STATED_DECISION_TYPE, Decision, StatedDecision, Verdict
from shared.errors import MaskingError, TransferError
from shared.evaluation.records import EVALUATED, Evaluation, Moments, PercentDensity, SegmentMoments
from shared.evaluation.sums import rows_of
from shared.fixed_point.grid import Grid, Integers
from shared.fixed_point.masked_file import write_masked
from shared.fixed_point.rounding import Rounding, rounding_key
from shared.fixed_point.sums import ring_bits
from shared.fixed_point.update_file import read_update, write_update
from shared.masking.metric_words import to_text, to_words
from shared.masking.records import MaskingTold, RosterAsked, SharesAsked, SurvivorsAsked, UnmaskAsked
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import EVALUATION_TERMS, common_terms
from shared.model import Weights, build_model, initial_model
from shared.model.sent import norm_bound, sent_shapes
from shared.model.weights import from_bytes, weights_of
from shared.plan import ModelPlan, Plan, RoundsPlan
from shared.records import (
    ANNOUNCEMENT_TYPE,
    CONTRIBUTION_TYPE,
    MASKING_PHASES,
    METRICS_OF_PHASE,
    REFUSAL_TYPE,
    Announcement,
    Contribution,
    Occasion,
    Phase,
    Refusal,
    Terms,
    metrics_asked,
)
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.issuing import Issuer, new_root, new_site_certificate
from shared.trust.keys import NodeKey, SigningKey, TlsKey, VerifyKey
from shared.trust.signing_request import new_csr

SITES: Mapping[str, int] = MappingProxyType({"aarhus": 10, "bergen": 30, "cork": 60})
"""Names of the sites and how many examples each trains on."""

RUN_ID = "run-1"
ROOT_KEY = TlsKey.generate()
ROOT_PEM = new_root(federation_name="Simulated", key=ROOT_KEY, now=time.time())
EVALUATION = Evaluation(
    num_examples=8,
    loss=Moments(num_images=8, mean=0.5, variance=0.1),
    dice=SegmentMoments(
        dense=Moments(num_images=8, mean=0.7, variance=0.02),
        breast=Moments(num_images=8, mean=0.9, variance=0.01),
        pectoral=None,
    ),
    percent_density=PercentDensity(
        num_images=8,
        mean_measured=22.0,
        mean_expert=20.0,
        variance_measured=100.0,
        variance_expert=100.0,
        covariance=80.0,
        mean_absolute_difference=4.0,
    ),
)


def small_plan(rounds: int, *, quorum: int = 2, timeout_s: float = 5) -> Plan:
    """A plan of the smallest network on the smallest image."""
    return Plan(
        name="simulated",
        seed=7,
        rounds=RoundsPlan(count=rounds, quorum=quorum, timeout_s=timeout_s),
        model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a site was asked for, verified, with the weights to start from."""

    announcement: Announcement
    plan: Plan
    base: Weights
    sent: Mapping[str, tuple[int, ...]]

    @property
    def occasion(self) -> Occasion:
        return self.announcement.occasion

    @property
    def terms(self) -> Terms:
        assert self.announcement.terms is not None
        return self.announcement.terms

    def grid(self, update: Weights) -> Grid:
        """The round's grid, for an update that may have other tensors than were asked for."""
        exponents = dict(zip(self.sent, self.terms.exponents, strict=True))
        names = sorted(update)
        return Grid(
            bits=self.terms.bits,
            shapes={name: tuple(update[name].shape) for name in names},
            exponents={name: exponents.get(name, 0) for name in names},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An update that a site has computed, and what it was asked for then."""

    asked: Asked
    content: bytes
    noise_key: int = field(default_factory=lambda: secrets.randbits(KEY_BITS))

    def stands_for(self, asked: Asked) -> bool:
        """Whether it is sent when this is asked for, in its own attempt or a later one."""
        then, now, rejected = self.asked.announcement, asked.announcement, asked.announcement.rejected
        if then.occasion == now.occasion:
            return True
        return (
            (asked.plan.rounds.late_updates == "use" or asked.plan.is_masked)
            and then.occasion.attempt < now.occasion.attempt
            and with_attempt(then.occasion, now.occasion.attempt) == now.occasion
            and (then.terms, then.counted) == (now.terms, now.counted)
            and (rejected is None or rejected.round_number != now.occasion.round_number)
        )


@functools.cache
def _network_of(plan: Plan) -> Weights:
    return weights_of(initial_model(plan))


class NodeError(Exception):
    """The site's node fails before it can answer."""


class Silence(Exception):  # noqa: N818 - not an error
    """The site does not answer at all."""


Deed = Callable[["SimulatedSite", Asked], bytes]
"""What a site does when asked: the envelope that it answers with."""


@dataclass(slots=True, kw_only=True)
class SimulatedSite:
    """One site: its identity, its data's size, what it does in which round, and what it has said."""

    name: str
    num_examples: int
    node_id: int
    coordinator: Coordinator
    appearance: Appearance | None = None
    evaluation: Evaluation = field(default_factory=lambda: EVALUATION)
    epsilon: float | None = None
    signing_key: SigningKey = field(default_factory=SigningKey.generate)
    tls_key: TlsKey = field(default_factory=TlsKey.generate)
    node_key: NodeKey = field(default_factory=NodeKey.generate)
    online_since: float | None = field(default_factory=lambda: time.time() - 60)
    asked: list[Occasion] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    trained: dict[int, Asked] = field(default_factory=dict)
    kept: dict[int, Kept] = field(default_factory=dict)
    counts: Deed = field(default_factory=lambda: honest)
    parties: Parties = field(default_factory=Parties)
    settled: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _deeds: dict[int | None, list[Deed]] = field(default_factory=dict)

    @property
    def site_id(self) -> str:
        return f"site-{self.name}"

    def does(self, *deeds: Deed, in_round: int | None = None) -> None:
        """Script the site: one deed for each time it is asked in that round, or the last one for ever."""
        self._deeds[in_round] = list(deeds)

    def answer(self, envelope: bytes) -> bytes:
        asked = self._read(envelope)
        if asked.occasion.phase is Phase.COUNT:
            return self.counts(self, asked)
        self.asked.append(asked.occasion)
        if asked.occasion.phase is Phase.TRAIN:
            self.trained.setdefault(asked.occasion.round_number, asked)
        deeds = self._deeds.get(asked.occasion.round_number) or self._deeds.get(None) or [honest]
        said = (deeds.pop(0) if len(deeds) > 1 else deeds[0])(self, asked)
        self.said.append(said)
        return said

    def _read(self, envelope: bytes) -> Asked:
        coordinator_key = self.coordinator.signing_key.verify_key
        payload = verify(Envelope.from_bytes(envelope), ANNOUNCEMENT_TYPE, coordinator_key)
        announcement = Announcement.from_bytes(payload)
        plan = Plan.from_toml(self._fetch(announcement.plan).decode())
        base = from_bytes(self._fetch(announcement.base), like=_network_of(plan))
        sent = sent_shapes(build_model(plan.model), plan.aggregation)
        return Asked(announcement=announcement, plan=plan, base=base, sent=sent)

    def _fetch(self, blob: BlobRef) -> bytes:
        assert self.coordinator.runs.may_fetch(self.site_id, blob.digest)
        self.coordinator.blobs.verify(blob)
        return self.coordinator.blobs.path(blob.digest).read_bytes()

    def train(self, asked: Asked) -> Weights:
        """An update: noise, the same whenever this site computes for this attempt at this round."""
        word = f"{self.name} {asked.occasion.round_number} {asked.occasion.attempt}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(word).digest()[:4], "big"))
        return {name: 0.01 * torch.randn(shape, generator=generator) for name, shape in asked.sent.items()}

    def certify(self) -> bytes:
        return new_site_certificate(
            csr_pem=new_csr(self.tls_key),
            site_id=self.site_id,
            issuer=Issuer(certificate_pem=ROOT_PEM, key=ROOT_KEY),
            now=time.time(),
        )

    def exchange_signing_key(self) -> None:
        """Renew with another TLS key and signing key; its node stays."""
        memberships = self.coordinator.memberships
        self.tls_key, self.signing_key = TlsKey.generate(), SigningKey.generate()
        memberships.renew(
            self.site_id,
            presented_pem=memberships.get(self.site_id).certificate_pem,
            keys=RenewedKeys(
                csr_pem=new_csr(self.tls_key),
                signing_key=self.signing_key.verify_key,
                node_key=self.node_key.public,
                software_version="0.1.0",
            ),
            check=lambda _key: None,
            issue=self.certify,
            now=time.time(),
        )

    def upload(self, content: bytes) -> BlobRef:
        blob = BlobRef.of(content)
        expected = self.coordinator.runs.expected_updates(self.site_id)
        assert any(blob.size_bytes <= 2.1 * each.base_bytes for each in expected)
        return self.coordinator.blobs.put_bytes(content)

    def contribution(
        self,
        asked: Asked,
        update: BlobRef | None,
        masking: MaskingTold | None = None,
        masked_metrics: str | None = None,
    ) -> Contribution:
        phase, metrics = asked.occasion.phase, self.metrics(asked)
        return Contribution(
            occasion=asked.occasion,
            num_examples=self.num_examples if phase in {Phase.COUNT, Phase.TRAIN} else 0,
            update=update,
            num_clipped=0,
            personal_evaluation=None,
            **(metrics if masked_metrics is None else dict.fromkeys(metrics)),
            masked_metrics=masked_metrics,
            duration_s=1.5,
            checkpoint=self.checkpoint(),
            masking=masking,
            epsilon=self.epsilon if phase is Phase.TRAIN else None,
        )

    def metrics(self, asked: Asked) -> dict[str, Any]:
        """What the site tells of metrics, as a contribution has it in the clear."""
        phase = asked.occasion.phase
        is_telling = phase in {Phase.TRAIN, Phase.EVALUATE}
        unasked = dict.fromkeys(name for name in EVALUATED if name not in METRICS_OF_PHASE[phase])
        return {
            "train_loss": 1 / (1 + asked.occasion.round_number) if phase is Phase.TRAIN else None,
            "evaluation": self.evaluation.model_copy(update=unasked) if is_telling else None,
            "appearance": self.appearance if phase is Phase.EVALUATE else None,
        }

    def metric_words(self, asked: Asked, party: Party) -> NDArray[np.uint64] | None:
        """The same as numbers for a sum, where the plan lets metrics out in aggregate only."""
        if not asked.plan.tells_in_aggregate:
            return None
        told, names = self.metrics(asked), metrics_asked(asked.occasion.phase, asked.plan.metrics)
        loss = told["train_loss"]
        rows = rows_of(
            names,
            train_loss=None if loss is None else (self.num_examples, loss),
            evaluation=told["evaluation"],
            appearance=told["appearance"],
        )
        return to_words(rows, num_sites=party.num_sites)

    def checkpoint(self, *, sequence: int = 0, head: str = GENESIS) -> str:
        """Where the site's audit log stands, or is said to stand."""
        at_ms = round(time.time() * 1000)
        checkpoint = checkpoints.Checkpoint(side=self.site_id, sequence=sequence, head=head, at_ms=at_ms)
        return checkpoints.sign_checkpoint(checkpoint, self.signing_key).to_bytes().decode()

    def signed(self, contribution: Contribution) -> bytes:
        return sign(CONTRIBUTION_TYPE, contribution.to_bytes(), self.signing_key).to_bytes()

    def rounded(self, asked: Asked, update: Weights) -> list[Integers]:
        grid, terms = asked.grid(update), asked.terms
        occasion = asked.occasion
        key = rounding_key(
            7,
            run_id=occasion.run_id,
            round_number=occasion.round_number,
            attempt=occasion.attempt,
            site_id=self.site_id,
        )
        rounding = Rounding(grid=grid, share=terms.weight / terms.total, key=key)
        return list(rounding.blocks({name: tensor.numpy() for name, tensor in update.items()}))

    def encoded(self, asked: Asked, update: Weights) -> bytes:
        file = io.BytesIO()
        write_update(file, asked.grid(update), self.rounded(asked, update), compress=True)
        return file.getvalue()

    def contribute_kept(self, asked: Asked) -> bytes:
        """Send what was computed for this round before, if it may stand for this attempt, or compute it."""
        kept = self.kept.get(asked.occasion.round_number)
        if kept is None or not kept.stands_for(asked):
            kept = Kept(asked=asked, content=self.encoded(asked, self.train(asked)))
            self.kept[asked.occasion.round_number] = kept
        content, metrics = kept.content, None
        if asked.plan.is_masked:
            content, metrics = self.masked(asked, kept)
        return self.signed(self.contribution(asked, self.upload(content), masked_metrics=metrics))

    def evaluate_masked(self, asked: Asked) -> bytes:
        """The metrics of the final weights under this attempt's mask."""
        assert isinstance(asked.announcement.masking, SharesAsked)
        party = self.parties.of(RUN_ID, asked.occasion.attempt_sha256)
        words = self.metric_words(asked, party)
        assert words is not None
        sha256 = hashlib.sha256(words.tobytes()).hexdigest()
        mask = party.mask(asked.announcement.masking, update_sha256=sha256, common=EVALUATION_TERMS)
        masked = to_text(words + mask.long_words(words.size))
        return self.signed(self.contribution(asked, None, masked_metrics=masked))

    def masked(self, asked: Asked, kept: Kept) -> tuple[bytes, str | None]:
        """The upload of a kept update under this attempt's mask, and the metrics under it."""
        assert isinstance(asked.announcement.masking, SharesAsked)
        party = self.parties.of(RUN_ID, asked.occasion.attempt_sha256)
        sha256 = hashlib.sha256(kept.content).hexdigest()
        grid, file = asked.grid(self.train(kept.asked)), io.BytesIO()
        assert asked.terms is not None
        common = common_terms(grid, asked.terms.total)
        mask = party.mask(asked.announcement.masking, update_sha256=sha256, common=common)
        bound = norm_bound(asked.plan.aggregation, grid.shapes, share=1 / asked.terms.total)
        noise, chance = SiteNoise.of(asked.plan, grid, bound), chance_of(kept.noise_key)
        words = (
            (integers.astype(np.int64) + (noise.drawn(block, chance) if noise else 0)).astype(np.uint32)
            + mask.words(integers.size)
            for block, integers in zip(
                grid.blocks(), read_update(io.BytesIO(kept.content), grid), strict=True
            )
        )
        ring = noise.ring_bits(party.num_sites) if noise else ring_bits(grid.bits, party.num_sites)
        write_masked(file, grid, words, ring=ring)
        numbers = self.metric_words(asked, party)
        masked = None if numbers is None else to_text(numbers + mask.long_words(numbers.size))
        return file.getvalue(), masked

    def tell_of_masks(self, asked: Asked) -> bytes:
        """Take part in a phase for masks, as the protocol says; one set of survivors in each round."""
        occasion, masking = asked.occasion, asked.announcement.masking
        told: MaskingTold
        if occasion.phase is Phase.KEYS:
            party = Party(
                attempt=occasion.attempt_sha256,
                site_id=self.site_id,
                signing_key=self.signing_key,
                demands=Demands(least_sites=3),
                colluding=asked.plan.privacy.colluding_sites,
                neighbours=asked.plan.privacy.neighbours,
                least_survivors=asked.plan.rounds.quorum if asked.plan.privacy.site_noise else 0,
            )
            told = self.parties.begin(RUN_ID, party).keys()
            return self.signed(self.contribution(asked, None, told))
        party = self.parties.of(RUN_ID, occasion.attempt_sha256)

        def bind(survivors: tuple[str, ...]) -> None:
            if self.settled.setdefault(occasion.round_number, survivors) != survivors:
                raise MaskingError("Others were signed for before.", "")

        try:
            match masking:
                case RosterAsked():
                    told = party.share(masking)
                case SurvivorsAsked():
                    told = party.sign(masking, bind=bind)
                case UnmaskAsked():
                    told = party.reveal(masking)
                case _:
                    raise AssertionError(masking)
        except MaskingError:
            return refuse(self, asked)
        return self.signed(self.contribution(asked, None, told))

    def contribute(self, asked: Asked, update: Weights) -> bytes:
        return self.signed(self.contribution(asked, self.upload(self.encoded(asked, update))))


def honest(site: SimulatedSite, asked: Asked) -> bytes:
    """Take part as the protocol says."""
    if asked.occasion.phase in MASKING_PHASES:
        return site.tell_of_masks(asked)
    if asked.occasion.phase is Phase.EVALUATE and asked.plan.tells_in_aggregate:
        return site.evaluate_masked(asked)
    if asked.occasion.phase is not Phase.TRAIN:
        return site.signed(site.contribution(asked, None))
    return site.contribute_kept(asked)


def refuse(site: SimulatedSite, asked: Asked) -> bytes:
    """Say no."""
    refusal = Refusal(occasion=asked.occasion, reason="NotReadyError", checkpoint=site.checkpoint())
    return sign(REFUSAL_TYPE, refusal.to_bytes(), site.signing_key).to_bytes()


def fail(_site: SimulatedSite, _asked: Asked) -> bytes:
    """Break before there is an answer."""
    raise NodeError


def understand_nothing(_site: SimulatedSite, _asked: Asked) -> bytes:
    """Run another version than the coordinator."""
    raise NodeError("VersionError")


def stay_silent(_site: SimulatedSite, _asked: Asked) -> bytes:
    """Say nothing, and stay connected."""
    raise Silence


def go_offline(site: SimulatedSite, _asked: Asked) -> bytes:
    """Lose the connection before there is an answer."""
    site.online_since = None
    raise Silence


def restart(site: SimulatedSite, _asked: Asked) -> bytes:
    """Forget what was asked, and be back at once."""
    site.online_since = time.time() + 0.05
    raise Silence


class SimulatedChannel:
    """`SiteChannel` to simulated sites.

    Attributes
    ----------
    breaks_in_round, num_asked_before
        The channel breaks in this round when so many sites have been asked, and have computed.
    latest_first
        Hand over one reply at a time, the last one sent first.
    repeats
        Hand over every reply twice.
    """

    def __init__(self, sites: Collection[SimulatedSite]) -> None:
        self.sites = {site.node_id: site for site in sites}
        self.breaks_in_round: int | None = None
        self.num_asked_before = 0
        self.latest_first = False
        self.repeats = False
        self._replies: dict[str, Reply] = {}
        self._num_sent = 0
        self._num_asked: Counter[int] = Counter()

    def online(self) -> Mapping[int, float]:
        return {
            node_id: site.online_since
            for node_id, site in self.sites.items()
            if site.online_since is not None
        }

    def send(self, messages: Sequence[Outgoing], *, expires_in_s: float) -> list[str | None]:
        assert expires_in_s > 0
        return [self._send(each.node_id, each.envelope) for each in messages]

    def _send(self, node_id: int, envelope: bytes) -> str | None:
        announcement = Announcement.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
        self._break_off(announcement.occasion.round_number)
        self._num_asked[announcement.occasion.round_number] += 1
        self._num_sent += 1
        message_id = f"message-{self._num_sent}"
        said: bytes | None = None
        failure = ""
        try:
            said = self.sites[node_id].answer(envelope)
        except NodeError as error:
            failure = str(error)
        except Silence:
            return message_id
        except TransferError:
            return None
        self._replies[message_id] = Reply(message_id=message_id, envelope=said, failure=failure)
        return message_id

    def _break_off(self, number: int) -> None:
        if number == self.breaks_in_round and self._num_asked[number] == self.num_asked_before:
            raise ConnectionError("the coordinator's process is cut off")

    def receive(self, message_ids: Collection[str]) -> list[Reply]:
        if self._num_asked:
            self._break_off(max(self._num_asked))
        ready = [self._replies[each] for each in message_ids if each in self._replies]
        if self.latest_first:
            ready = ready[-1:]
        for reply in ready:
            del self._replies[reply.message_id]
        return [*ready, *ready] if self.repeats else ready


class SimulatedFederation:
    """A founded coordinator with enrolled sites, and one run that can be carried on again and again."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        sites: Mapping[str, int] = SITES,
        *,
        database_file: Path | None = None,
        exports: Sequence[ExportForm] = (),
    ) -> None:
        self.plan = plan
        self.home = CoordinatorHome(folder)
        settings = CoordinatorSettings(
            name="Simulated",
            database_file=str(database_file) if database_file else None,
            exports=tuple(exports),
        )
        found(self.home, settings, now=time.time(), actor="test")
        self.coordinator = Coordinator.open(self.home)
        self.sites = {
            name: SimulatedSite(
                name=name, num_examples=count, node_id=place + 1, coordinator=self.coordinator
            )
            for place, (name, count) in enumerate(sites.items())
        }
        for site in self.sites.values():
            self._enrol(site)
        self.channel = SimulatedChannel(self.sites.values())
        run = Run.under(plan, run_id=RUN_ID, created_at=time.time())
        self.coordinator.runs.submit(run, actor="test")
        for name in self.sites:
            self.decide(name, Verdict.APPROVED, number=1)

    def approve(self, run: Run, *, by: Collection[str] | None = None) -> None:
        """Sites approve of another run, all of them if not said otherwise."""
        for name in self.sites if by is None else by:
            number = len(self.coordinator.runs.all())
            changes = {"run_id": run.run_id, "plan_sha256": run.plan_sha256}
            self.decide(name, Verdict.APPROVED, number=number, **changes)

    def decide(self, name: str, verdict: Verdict, *, number: int, **changes: Any) -> None:
        """A site says what it thinks of the run's plan, over the register that its statements come to."""
        site, now = self[name], time.time()
        self.coordinator.consents.offer(str(changes.get("run_id", RUN_ID)), site.site_id, at=now)
        decision = Decision.model_validate(
            {
                "number": number,
                "site_id": site.site_id,
                "run_id": RUN_ID,
                "plan_sha256": self.plan.sha256,
                "verdict": verdict,
                "actor": "owner",
                "decided_at": now,
                **changes,
            }
        )
        stated = StatedDecision(decision=decision).to_bytes()
        envelope = sign(STATED_DECISION_TYPE, stated, site.signing_key).to_bytes()
        self.coordinator.consents.decide(decision, envelope=envelope, at=now)

    def __getitem__(self, name: str) -> SimulatedSite:
        return self.sites[name]

    def _enrol(self, site: SimulatedSite) -> None:
        register = self.coordinator.federation
        secret_hash = hashlib.sha256(site.name.encode()).hexdigest()
        now = time.time()
        register.invite(
            secret_hash=secret_hash,
            site_id=site.site_id,
            site_name=site.name,
            now=now,
            expires_at=now + 60,
            actor="test",
        )
        enrolled = register.enrol(
            secret_hash=secret_hash,
            now=now,
            keys=SiteKeys(
                csr_pem=new_csr(site.tls_key),
                signing_key=VerifyKey(site.signing_key.verify_key.raw),
                node_key=site.node_key.public,
                software_version="0.1.0",
            ),
            issue=lambda _site_id: site.certify(),
        )
        assert isinstance(enrolled, EnrolledSite)
        register.set_node_id(site.site_id, site.node_id)

    def read_checkpoint(self, text: str) -> checkpoints.Checkpoint:
        """The coordinator's checkpoint in an announcement, verified."""
        key = self.coordinator.signing_key.verify_key
        return checkpoints.open_checkpoint(Envelope.from_bytes(text.encode()), of="coordinator", key=key)

    def run(self, run_id: str = RUN_ID) -> None:
        """Carry the run on as far as it goes."""
        run_rounds(run_id, self.channel, self.coordinator)

    def resume(self) -> None:
        """Carry the run on in a new process: the coordinator opened again, over a new channel."""
        self.coordinator = Coordinator.open(self.home)
        self.channel = SimulatedChannel(self.sites.values())
        self.run()

    @property
    def state(self) -> RunState:
        return self.coordinator.runs.get(RUN_ID).state

    @property
    def checkpoint(self) -> Checkpoint:
        checkpoint = self.coordinator.runs.last_checkpoint(RUN_ID)
        assert checkpoint is not None
        return checkpoint

    def weights(self, blob: BlobRef) -> Weights:
        content = self.coordinator.blobs.path(blob.digest).read_bytes()
        return from_bytes(content, like=_network_of(self.plan))

    def aggregate_of(self, number: int) -> BlobRef:
        """The weights that a round came to."""
        rounds = self.coordinator.runs.rounds(RUN_ID)
        (aggregate,) = (one.aggregate for one in rounds if one.number == number and one.aggregate)
        return aggregate

    def base_of(self, number: int) -> BlobRef:
        """The weights that a round started from, the same in each of its attempts."""
        rounds = self.coordinator.runs.rounds(RUN_ID)
        (base,) = {one.base for one in rounds if (one.number, one.phase) == (number, Phase.TRAIN)}
        return base

    def updates_here(self) -> set[str]:
        """Digests of single sites' updates that the coordinator still has."""
        return {
            answer.contribution.update.digest
            for answer in self.coordinator.runs.answers(RUN_ID)
            if answer.contribution is not None and answer.contribution.update is not None
        } & set(self.coordinator.blobs.digests())

    def answers_of(self, name: str, number: int) -> list[Answer]:
        """What became of a site's part in each attempt of a training round."""
        return [
            answer
            for answer in self.coordinator.runs.answers(RUN_ID)
            if (answer.site_id, answer.number, answer.phase) == (f"site-{name}", number, Phase.TRAIN)
        ]

    def answer_of(self, name: str, number: int) -> tuple[AnswerState, str | None]:
        """What became of a site's part in the only attempt of a training round."""
        (answer,) = self.answers_of(name, number)
        return answer.state, answer.reason

    def honest_mean(self, number: int, *names: str) -> Weights:
        """The weights after a round to which just these sites contribute, worked out to the last bit."""
        base = self.weights(self.base_of(number))
        asked = {name: self[name].kept[number].asked for name in names}
        terms, grid = asked[names[0]].terms, asked[names[0]].grid(base)
        answered = sum(each.terms.weight for each in asked.values()) / terms.total
        sums = {key: np.zeros(grid.size(key), np.int64) for key in sorted(base)}
        for name in names:
            rounded = self[name].rounded(asked[name], self[name].train(asked[name]))
            for block, integers in zip(grid.blocks(), rounded, strict=True):
                sums[block.name][block.start : block.stop] += integers
        means = {key: torch.from_numpy(total * (grid.step(key) / answered)) for key, total in sums.items()}
        return {key: (base[key].double() + means[key].reshape(base[key].shape)).float() for key in base}


def with_attempt(occasion: Occasion, attempt: int) -> Occasion:
    """The same occasion in another attempt."""
    return occasion.model_copy(update={"attempt": attempt})


def with_occasion(contribution: Contribution, **changes: object) -> Contribution:
    """A contribution that claims to be for another occasion."""
    occasion = Occasion.model_validate({**contribution.occasion.model_dump(), **changes})
    return contribution.model_copy(update={"occasion": occasion})


def forged(envelope: bytes, **changes: object) -> bytes:
    """An envelope with parts replaced and the signature kept."""
    return replace(Envelope.from_bytes(envelope), **changes).to_bytes()
