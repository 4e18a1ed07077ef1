"""A real site under secure aggregation, beside two others that a test speaks for."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

import client.participation
from client.home import SiteHome
from client.masking import Demands, Party
from client.participation import take_part
from client.store.ledger import Rule
from client.workplace import Workplace, open_workplace
from server.masking import MaskedRound
from shared.errors import TrustError
from shared.fixed_point.grid import Grid
from shared.fixed_point.masked_file import masked_size, read_masked
from shared.fixed_point.sums import IntegerSum
from shared.fixed_point.update_file import read_update
from shared.masking.records import (
    SharesAsked,
    SharesRevealed,
    SurvivorsAsked,
    SurvivorsTold,
    UnmaskAsked,
)
from shared.masking.site_noise import SiteNoise
from shared.masking.streams import common_terms
from shared.model import initial_model
from shared.model.sent import norm_bound, sent_shapes
from shared.plan import AggregationPlan, Plan, PrivacyPlan, SiteNoisePlan
from shared.records import Announcement, Contribution, Phase, Refusal
from shared.trust.keys import SigningKey
from tests.unit.client.participation.conftest import (
    EXPONENT,
    PLAN,
    POLICY,
    SITE_ID,
    MinimalCoordinator,
    ledger_rows,
)
from tests.unit.client.participation.test_take_part import read

RUN_ID = "run-masked"
MASKED = PLAN.model_copy(update={"privacy": PrivacyPlan(secure_aggregation="on")})
NOISY = PLAN.model_copy(
    update={
        "metrics": (),
        "aggregation": AggregationPlan(max_update_norm=1.0),
        "privacy": PrivacyPlan(secure_aggregation="on", site_noise=SiteNoisePlan(multiplier=0.5)),
    }
)
OTHERS = ("site-2", "site-3")
EVERYBODY = (SITE_ID, *OTHERS)

Answer = TypeVar("Answer", Contribution, Refusal)


def grid_of(plan: Plan) -> Grid:
    shapes = sent_shapes(initial_model(plan), plan.aggregation)
    return Grid(bits=16, shapes=shapes, exponents=dict.fromkeys(shapes, EXPONENT))


@dataclass(slots=True, kw_only=True)
class MaskedAttempt:
    """One attempt at round 1: the coordinator's real side, and two real parties whose updates are zeros."""

    coordinator: MinimalCoordinator
    workplace: Workplace
    number: int = 1
    plan: Plan = MASKED
    share_of: int = 2
    """The whole that shares are of, as every site but the real one is told."""
    common: str = field(init=False)
    round_: MaskedRound = field(init=False)
    others: dict[str, Party] = field(init=False)
    total: IntegerSum = field(init=False)

    def __post_init__(self) -> None:
        attempt = self.announcement(Phase.KEYS).occasion.attempt_sha256
        self.common = common_terms(grid_of(self.plan), self.share_of)
        self.round_ = MaskedRound(attempt=attempt, colluding=0, neighbours=None, common=self.common)
        self.others = {
            site: Party(
                attempt=attempt,
                site_id=site,
                signing_key=SigningKey.generate(),
                demands=Demands(least_sites=3),
                colluding=0,
                neighbours=None,
            )
            for site in OTHERS
        }
        self.total = IntegerSum(grid_of(MASKED))

    def noise(self) -> SiteNoise | None:
        """What each site adds under the plan."""
        grid = grid_of(self.plan)
        bound = norm_bound(self.plan.aggregation, grid.shapes, share=1 / self.share_of)
        return SiteNoise.of(self.plan, grid, bound)

    def announcement(self, phase: Phase, **changes: object) -> Announcement:
        masking = None if phase is Phase.KEYS else self.round_.asked(phase, SITE_ID)
        document = {
            "settings": self.plan,
            "run_id": RUN_ID,
            "attempt": self.number,
            "masking": masking,
            **changes,
        }
        return self.coordinator.announcement(phase=phase, **document)  # type: ignore[arg-type]

    def ask(self, phase: Phase, kind: type[Answer], **changes: object) -> Answer:
        envelope = self.coordinator.ask(self.announcement(phase, **changes))
        return read(take_part(envelope, self.workplace), kind, self.coordinator.home)

    def share(self) -> None:
        """Up to where everybody has shared."""
        told = self.ask(Phase.KEYS, Contribution).masking
        own_key = SigningKey.load(self.coordinator.home.signing_key_file).verify_key
        assert told is not None
        self.round_.take_keys(SITE_ID, told, own_key)  # type: ignore[arg-type]
        for site, party in self.others.items():
            self.round_.take_keys(site, party.keys(), party.signing_key.verify_key)
        self.round_.close(Phase.KEYS)
        roster = self.round_.asked(Phase.SHARES, "")
        shared = self.ask(Phase.SHARES, Contribution).masking
        self.round_.take_shares(SITE_ID, shared)  # type: ignore[arg-type]
        for site, party in self.others.items():
            self.round_.take_shares(site, party.share(roster))  # type: ignore[arg-type]
        self.round_.close(Phase.SHARES)

    def mask(self) -> Contribution:
        """Up to where everybody has sent an update; the real site's contribution."""
        self.share()
        contribution = self.ask(Phase.TRAIN, Contribution)
        assert contribution.update is not None
        upload = self.coordinator.received(contribution.update)
        grid = grid_of(MASKED)
        ring = (self.noise() or self.total).ring_bits(3)
        self.total.add(lambda: read_masked(io.BytesIO(upload), grid, ring=ring))
        self.round_.take_masked(SITE_ID)
        for site, party in self.others.items():
            asked = self.round_.asked(Phase.TRAIN, site)
            assert isinstance(asked, SharesAsked)
            mask = party.mask(asked, update_sha256="0" * 64, common=self.common)
            self.total.add(
                lambda mask=mask: (mask.words(block.size).view(np.int32) for block in grid.blocks())
            )
            self.round_.take_masked(site)
        self.round_.close(Phase.TRAIN)
        return contribution

    def reveal(self) -> None:
        """The rest: everybody has signed the survivors, and said what unmasks their sum."""
        survivors = self.round_.asked(Phase.SURVIVORS, "")
        assert isinstance(survivors, SurvivorsAsked)
        signature = self.ask(Phase.SURVIVORS, Contribution).masking
        assert isinstance(signature, SurvivorsTold)
        self.round_.take_signed(SITE_ID, signature)
        for site, party in self.others.items():
            self.round_.take_signed(site, party.sign(survivors))
        self.round_.close(Phase.SURVIVORS)
        signed = self.round_.asked(Phase.UNMASK, "")
        assert isinstance(signed, UnmaskAsked)
        shares = self.ask(Phase.UNMASK, Contribution).masking
        assert isinstance(shares, SharesRevealed)
        self.round_.take_revealed(SITE_ID, shares)
        for site, party in self.others.items():
            self.round_.take_revealed(site, party.reveal(signed))

    def unmask(self) -> NDArray[np.int64]:
        """The whole of it; the sum, which is the real site's update alone, for the others' are zeros."""
        self.reveal()
        self.round_.unmask(self.total, self.noise())
        return np.concatenate([self.total.of(name) for name in grid_of(MASKED).shapes])


@pytest.fixture
def attempt(coordinator: MinimalCoordinator, workplace: Workplace) -> MaskedAttempt:
    """The first attempt at the first round of a run whose plan the site has approved."""
    coordinator.approve(MASKED, run_id=RUN_ID)
    return MaskedAttempt(coordinator=coordinator, workplace=workplace)


def plain_update(workplace: Workplace, announcement: Announcement) -> tuple[str, NDArray[np.int64]]:
    """What the site has on record: the digest of its update, and the integers."""
    record = workplace.records.find(announcement)
    assert record is not None
    with workplace.blobs.path(record.update.digest).open("rb") as file:
        return record.update.digest, np.concatenate(list(read_update(file, grid_of(MASKED)))).astype(np.int64)


def test_the_sum_is_that_of_the_sites_own_update_to_the_last_bit_and_the_update_never_leaves(
    attempt: MaskedAttempt, workplace: Workplace
) -> None:
    sent = attempt.mask()
    digest, update = plain_update(workplace, attempt.announcement(Phase.TRAIN))

    total = attempt.unmask()

    assert np.array_equal(total, update)
    assert np.any(update)
    assert sent.update is not None
    assert sent.update.size_bytes == masked_size(grid_of(MASKED), ring=18)
    (signed,) = (line for line in workplace.audit.lines() if line.name == "sum.signed")
    own_key = SigningKey.load(attempt.coordinator.home.signing_key_file).verify_key
    keys = [own_key, *(party.signing_key.verify_key for party in attempt.others.values())]
    assert signed.details["sites"] == list(EVERYBODY)
    assert signed.details["keys"] == [key.key_id for key in keys]
    lines = ledger_rows(attempt.coordinator.home)
    assert digest not in {line.sha256 for line in lines} | set(attempt.coordinator.ledger_at_send)
    assert {(line.kind, line.phase, line.rule) for line in lines} == {
        ("update", "train", Rule.MASKED_WEIGHTS),
        ("contribution", "train", Rule.LISTED_NUMBERS),
        *(
            ("contribution", phase, Rule.WHAT_MASKS_NEED)
            for phase in ("keys", "shares", "survivors", "unmask")
        ),
    }


def test_averaging_a_site_adds_the_same_noise_to_its_update_in_every_attempt(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    """Were it drawn anew, whoever has attempts repeated and reads each sum would average it away."""
    coordinator.approve(NOISY, run_id=RUN_ID)
    sums = []
    for number in (1, 2):
        attempt = MaskedAttempt(coordinator=coordinator, workplace=workplace, number=number, plan=NOISY)
        attempt.mask()
        sums.append(attempt.unmask())

    noise = attempt.noise()
    assert noise is not None
    _, update = plain_update(workplace, attempt.announcement(Phase.TRAIN, attempt=1))
    assert np.array_equal(sums[0], sums[1])
    added = sums[0] - update
    assert added.std() == pytest.approx(noise.variance(next(iter(noise.grid.shapes))) ** 0.5, rel=0.1)


def test_what_leaves_of_an_update_is_even_noise(attempt: MaskedAttempt) -> None:
    sent = attempt.mask()

    assert sent.update is not None
    file = io.BytesIO(attempt.coordinator.received(sent.update))
    words = np.concatenate(list(read_masked(file, grid_of(MASKED), ring=18)))
    for place in (0, 5, 10):
        counts, expected = np.bincount((words >> place) & 0xFF, minlength=256), words.size / 256
        assert 160 < float(((counts - expected) ** 2 / expected).sum()) < 365  # 255 degrees of freedom


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.SHARES, Phase.SURVIVORS, Phase.UNMASK])
def test_downgrade_a_phase_that_is_asked_without_what_masks_need_gets_nothing(
    attempt: MaskedAttempt, phase: Phase
) -> None:
    attempt.share()

    refusal = attempt.ask(phase, Refusal, masking=None)

    assert refusal.reason == ("NotApprovedError" if phase is Phase.TRAIN else "MaskingError")
    assert attempt.coordinator.ledger_at_send == {}


def test_masks_under_a_plan_that_has_none_get_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    shares = SharesAsked(sharers=EVERYBODY, shares={})
    for announcement in (
        coordinator.announcement(phase=Phase.KEYS),
        coordinator.announcement(masking=shares),
    ):
        answer = take_part(coordinator.ask(announcement), workplace)
        assert read(answer, Refusal, coordinator.home).reason == "NotApprovedError"


def test_a_site_whose_process_was_ended_amid_an_attempt_trains_for_nothing_in_it(
    attempt: MaskedAttempt, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt.share()
    attempt.workplace = open_workplace(home)

    def train(*_arguments: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(client.participation, "train_round", train)

    assert attempt.ask(Phase.TRAIN, Refusal).reason == "MaskingError"
    attempt.workplace.catalog.close()


def test_another_attempt_sends_the_same_update_under_other_masks_and_computes_nothing(
    attempt: MaskedAttempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attempt.mask()
    _, update = plain_update(attempt.workplace, attempt.announcement(Phase.TRAIN))

    def train(*_arguments: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(client.participation, "train_round", train)
    second = MaskedAttempt(coordinator=attempt.coordinator, workplace=attempt.workplace, number=2)
    sent = second.mask()

    assert first.update is not None
    assert sent.update is not None
    assert sent.update.digest != first.update.digest
    assert np.array_equal(second.unmask(), update)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_differencing_a_second_set_of_survivors_in_a_round_is_not_signed_in_any_attempt(
    attempt: MaskedAttempt, home: SiteHome, is_restarted: bool
) -> None:
    """A sum over three sites and one over two of them would differ by the update of the third."""
    attempt.mask()
    attempt.unmask()
    if is_restarted:
        attempt.workplace = open_workplace(home)
    second = MaskedAttempt(coordinator=attempt.coordinator, workplace=attempt.workplace, number=2)
    second.mask()

    fewer = SurvivorsAsked(survivors=EVERYBODY[:2])
    assert second.ask(Phase.SURVIVORS, Refusal, masking=fewer).reason == "MaskingError"

    # And what was refused is not unmasked; the first set still is.
    second.unmask()
    if is_restarted:
        attempt.workplace.catalog.close()


def test_differencing_another_update_beside_the_same_survivors_is_not_signed(
    attempt: MaskedAttempt, workplace: Workplace
) -> None:
    attempt.mask()
    attempt.unmask()
    for file in attempt.coordinator.home.rounds.rglob("*"):
        if file.is_file():
            file.unlink()  # so that the site trains anew, from other random numbers
    second = MaskedAttempt(coordinator=attempt.coordinator, workplace=workplace, number=2)
    second.mask()

    assert second.ask(Phase.SURVIVORS, Refusal).reason == "MaskingError"


def test_the_policys_rules_for_who_takes_part_are_named_when_they_are_broken(attempt: MaskedAttempt) -> None:
    for number, rule in enumerate(("least_sites = 4", f'known_keys = ["{"a" * 64}"]'), start=1):
        attempt.coordinator.home.policy_file.write_text(f"{POLICY}privacy.{rule}\n")
        tried = MaskedAttempt(coordinator=attempt.coordinator, workplace=attempt.workplace, number=number)
        with pytest.raises(TrustError):
            tried.share()

    refusals = [line for line in ledger_rows(attempt.coordinator.home) if line.kind == "refusal"]
    assert len(refusals) == 2
