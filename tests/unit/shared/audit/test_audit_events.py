"""What an event may carry, and the names that auditors look for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from shared.audit.event import WITHHELD
from shared.audit.events import (
    EVENTS,
    AnswerRejected,
    DataImported,
    KeysRotated,
    RoundOpened,
    RunFailed,
    RunSubmitted,
    SiteInvited,
)
from shared.errors import StoreError
from shared.records import Phase

STABLE = """
alert.acknowledged rule
answer.admitted attempt number phase reason
answer.lost attempt number phase reason
answer.refused attempt number phase reason
answer.rejected attempt number phase reason
audit.contradicted head reason sequence
backup.restored
backup.taken
checkpoint.kept head sequence
clinical.added num_patients
clock.judged off_s standing
configuration.changed new_sha256 old_sha256
contribution.refused attempt number phase reason
contribution.rejected attempt number phase reason
contribution.released attempt number phase sha256 size_bytes
coordinator.founded
data.imported num_examples num_left_out num_masks
data.removed num_examples num_patients
keys.rotated new_key_id old_key_id purpose
masks.added num_masks num_refused num_unmatched
model.downloaded manifest_sha256
model.installed manifest_sha256
model.published manifest_sha256 run_id
model.release_asked
model.released first
model.revoked reason
model.supplemented manifest_sha256 num_supplements
model.used has_own_layers manifest_sha256 num_images
person.added key_id role
person.disabled
person.identity_bound claim
person.identity_released
person.password_set
person.recovery_code_used
person.second_factor_removed
person.second_factor_set
person.sign_in_refused cause person
person.signed_in
person.signed_out
plan.approved plan_sha256 run_id
plan.rejected plan_sha256 reason run_id
plan.reopened plan_sha256 run_id
policy.changed new_sha256 old_sha256
report.written num_examples
round.aggregated attempt number phase
round.noisy attempt number phase steps
round.opened attempt carried cohort number phase
round.void attempt number phase
run.failed reason
run.finished
run.resumed
run.running
run.stopped
run.submitted plan_sha256
site.applied
site.approved keys
site.enrolled site_name
site.invited site_name
site.joined root_fingerprint site_name
site.left
site.paused
site.rejected
site.renewed node_key_changed signing_key_changed
site.resumed
site.revoked reason site_name
site.withdrawn
store.rewound revision
sum.signed attempt keys number phase sites
"""

MUST_NOT_BE_WRITTEN = {
    "path": "/srv/mammograms/anna",
    "windows-path": "C:\\mammograms",
    "dicom-name": "DOE^JANE",
    "dicom-uid": "1.2.840.10008.5.1.4.1.1.1.2",
    "address": "10.20.30.40",
    "mail": "ada@hospital.example",
    "second-line": "run-1\nrun-2",
    "empty": "",
    "long": "a" * 400,
}


def test_names_and_details_are_those_that_were_promised() -> None:
    promised = {line.split()[0]: line.split()[1:] for line in STABLE.strip().splitlines()}

    assert {
        name: sorted(field.name for field in fields(event) if field.name != "subject")
        for name, event in EVENTS.items()
    } == promised
    assert all(len(name) <= 32 for name in EVENTS)  # RFC 5424 gives a MSGID no more


@pytest.mark.parametrize("value", MUST_NOT_BE_WRITTEN.values(), ids=MUST_NOT_BE_WRITTEN)
def test_what_must_not_be_written_down_makes_no_event(value: str) -> None:
    with pytest.raises(StoreError) as caught:
        RunFailed(subject=value)
    assert value == "" or value not in caught.value.message
    with pytest.raises(StoreError):
        SiteInvited(subject="site-a", site_name=value)
    with pytest.raises(StoreError):
        RoundOpened(subject="run-1", number=1, attempt=1, phase="train", cohort=("site-a", value))


@pytest.mark.parametrize("value", MUST_NOT_BE_WRITTEN.values(), ids=MUST_NOT_BE_WRITTEN)
def test_a_reason_that_must_not_be_written_down_is_withheld_but_the_event_is_not(value: str) -> None:
    assert RunFailed(subject="run-1", reason=value).details() == {"reason": WITHHELD}


@pytest.mark.parametrize(
    "reason",
    [
        "A contribution was rejected. It answers another occasion than the one that was asked.",
        "The weights do not fit the plan's network: a tensor has another shape.",
        "Round 2 got fewer than 3 answers in 3 attempts.",
        "NotReadyError",
        "Århus has left the federation",
    ],
)
def test_our_own_sentences_are_written_as_they_are(reason: str) -> None:
    assert RunFailed(subject="run-1", reason=reason).details() == {"reason": reason}


def test_names_counts_and_digests_are_nothing_else() -> None:
    for count in (-1, 1.0, True, "1"):
        with pytest.raises(StoreError):
            DataImported(subject="images", num_examples=count, num_masks=0, num_left_out=0)
    for letters in ("Åse", "two words"):
        with pytest.raises(StoreError):
            SiteInvited(subject="site-a", site_name=letters)
    for digest in ("a" * 63, "A" * 64, None):
        with pytest.raises(StoreError):
            RunSubmitted(subject="run-1", plan_sha256=digest)
    with pytest.raises(StoreError):
        KeysRotated(subject="site-a", purpose="any purpose", old_key_id="0" * 16, new_key_id="1" * 16)


def test_members_of_enumerations_are_written_as_plain_words() -> None:
    event = AnswerRejected(subject="run-1", number=1, attempt=2, phase=Phase.TRAIN)

    assert event.details() == {"number": 1, "attempt": 2, "phase": "train", "reason": None}
    assert type(event.details()["phase"]) is str
