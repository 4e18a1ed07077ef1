"""What coordinator and site say to each other: one canonical form, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import MammofedError, TrustError, VersionError
from shared.evaluation.records import Evaluation, Moments, SegmentMoments
from shared.record import PROTOCOL
from shared.records import (
    Announcement,
    Contribution,
    Counted,
    Delta,
    Occasion,
    Phase,
    Refusal,
    Rejected,
    Terms,
)
from shared.transfer.blob_ref import BlobRef

OCCASION = Occasion(
    run_id="run-1",
    plan_sha256="a" * 64,
    round_number=2,
    attempt=1,
    phase=Phase.TRAIN,
    site_id="site-1",
    base_digest="b" * 64,
)
EVALUATION = Evaluation(
    num_examples=8,
    loss=Moments(num_images=8, mean=0.5, variance=0.1),
    dice=SegmentMoments(
        dense=Moments(num_images=6, mean=0.75, variance=0.02, interval=(0.7, 0.8)), breast=None, pectoral=None
    ),
)
CONTRIBUTION = Contribution(
    occasion=OCCASION,
    num_examples=12,
    update=BlobRef(digest="c" * 64, size_bytes=99),
    num_clipped=7,
    train_loss=0.25,
    evaluation=EVALUATION,
    personal_evaluation=None,
    appearance=None,
    duration_s=1.5,
    checkpoint="{}",
    masking=None,
    epsilon=None,
)
ANNOUNCEMENT = Announcement(
    occasion=OCCASION,
    plan=BlobRef(digest="a" * 64, size_bytes=9),
    base=BlobRef(digest="b" * 64, size_bytes=99),
    terms=Terms(weight=3, total=10, bits=16, exponents=[-15, -20], state=None),
    counted=Counted(run_id="run-1", round_number=1),
    rejected=Rejected(round_number=2, attempt=1, reason="A contribution was rejected."),
    metrics=("train_loss", "dice"),
    deadline=1_000.5,
    checkpoint="{}",
    delta=Delta(since="d" * 64, blob=BlobRef(digest="e" * 64, size_bytes=60)),
)
REFUSAL = Refusal(
    occasion=OCCASION,
    reason="PolicyError",
    rules=("limits.rounds", "approval"),
    not_before=2_000.5,
    checkpoint="{}",
)
RECORDS = [OCCASION, CONTRIBUTION, ANNOUNCEMENT, REFUSAL]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_the_way_and_has_one_form(record: Any) -> None:
    content = record.to_bytes()

    assert type(record).from_bytes(content) == record
    assert type(record).from_bytes(content).to_bytes() == content


def test_the_canonical_bytes_of_a_contribution_are_pinned() -> None:
    assert CONTRIBUTION.to_bytes() == (
        b'{"appearance":null,"checkpoint":"{}","duration_s":1.5,"epsilon":null,"evaluation":{"calibration":null,"density_categories":null,'
        b'"dice":{"breast":null,"dense":{"interval":[0.7,0.8],"mean":0.75,"num_images":6,"variance":0.02},"pectoral":null},"hausdorff":null,'
        b'"loss":{"interval":null,"mean":0.5,"num_images":8,"variance":0.1},"num_examples":8,'
        b'"percent_density":null},"masking":null,"num_clipped":7,"num_examples":12,"occasion":{"attempt":1,'
        b'"base_digest":"' + b"b" * 64 + b'","phase":"train","plan_sha256":"' + b"a" * 64 + b'","protocol":2,'
        b'"round_number":2,"run_id":"run-1","site_id":"site-1"},"personal_evaluation":null,"train_loss":0.25,"update":{"digest":"'
        + b"c" * 64
        + b'","size_bytes":99}}'
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("occasion.protocol", PROTOCOL + 1),
        ("occasion.protocol", PROTOCOL - 1),
        ("occasion.run_id", "../run"),
        ("occasion.run_id", "run-1\n"),
        ("occasion.run_id", "x" * 64),
        ("occasion.plan_sha256", "A" * 64),
        ("occasion.plan_sha256", "a" * 63),
        ("occasion.round_number", -1),
        ("occasion.round_number", "2"),
        ("occasion.round_number", 2.0),
        ("occasion.attempt", 0),
        ("occasion.phase", "TRAIN"),
        ("occasion.phase", "infer"),
        ("occasion.site_id", None),
        ("occasion.site_id", "Jane Doe"),
        ("occasion.extra", 1),
        ("num_examples", -1),
        ("num_examples", True),
        ("num_examples", 1.5),
        ("update", "c" * 64),
        ("update.digest", "c" * 63 + "/"),
        ("update.size_bytes", -1),
        ("update.size_bytes", "99"),
        ("update.size_bytes", True),
        ("update.path", "/etc/passwd"),
        ("num_clipped", -1),
        ("num_clipped", 0.5),
        ("train_loss", float("nan")),
        ("train_loss", float("inf")),
        ("train_loss", "0.25"),
        ("evaluation.num_examples", 0),
        ("evaluation.per_image", [0.1, 0.2]),
        ("evaluation.loss", 0.5),
        ("evaluation.loss.num_images", 0),
        ("evaluation.loss.num_images", 8.0),
        ("evaluation.loss.mean", float("nan")),
        ("evaluation.loss.mean", float("-inf")),
        ("evaluation.loss.variance", -0.01),
        ("evaluation.loss.values", [0.1, 0.2]),
        ("evaluation.dice.dense.interval", [0.7]),
        ("evaluation.dice.dense.interval", [0.7, float("inf")]),
        ("evaluation.dice.dense.interval", [0.7, 0.75, 0.8]),
        ("evaluation.calibration", {"num_images": 8, "mean": 0.1, "variance": 0.0, "bins": [None] * 9}),
        ("evaluation.calibration", {"num_images": 8, "mean": 0.1, "variance": 0.0, "bins": [None] * 11}),
        ("appearance", {"num_examples": 99, "mean": [0.0], "covariance": [1.0]}),
        ("checkpoint", ""),
        ("checkpoint", None),
        ("checkpoint", "x" * 4097),
        ("checkpoint", {"payload": ""}),
        ("duration_s", -1.0),
        ("duration_s", float("nan")),
        ("patient", "Jane Doe"),
    ],
)
def test_a_contribution_of_another_form_is_refused_without_repeating_it(path: str, value: object) -> None:
    document = json.loads(CONTRIBUTION.to_bytes())
    *way, key = path.split(".")
    part = document
    for step in way:
        part = part[step]
    part[key] = value

    with pytest.raises(MammofedError) as caught:
        Contribution.from_bytes(json.dumps(document).encode())

    assert str(value) not in caught.value.message or len(str(value)) < 3


@pytest.mark.parametrize("key", list(json.loads(CONTRIBUTION.to_bytes())))
def test_a_contribution_without_one_of_its_parts_is_refused(key: str) -> None:
    document = json.loads(CONTRIBUTION.to_bytes())
    del document[key]

    with pytest.raises(TrustError, match="unknown form"):
        Contribution.from_bytes(json.dumps(document).encode())


def test_a_record_of_another_protocol_says_which_and_which_is_spoken_here() -> None:
    for record in (CONTRIBUTION, ANNOUNCEMENT):
        document = json.loads(record.to_bytes())
        document["occasion"]["protocol"] = PROTOCOL + 1
        document["a-new-part"] = True

        with pytest.raises(VersionError, match=f"of protocol {PROTOCOL + 1}; this side speaks {PROTOCOL}"):
            type(record).from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("protocol", [True, "3", -1, 10**30, None, [3]])
def test_a_protocol_that_is_no_version_is_not_repeated(protocol: object) -> None:
    document = json.loads(CONTRIBUTION.to_bytes())
    document["occasion"]["protocol"] = protocol

    with pytest.raises(TrustError, match="unknown form"):
        Contribution.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "soon", True])
def test_an_announcement_without_a_real_deadline_is_refused(deadline: object) -> None:
    document = {**json.loads(ANNOUNCEMENT.to_bytes()), "deadline": deadline}

    with pytest.raises(TrustError):
        Announcement.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize(
    "reason", ["", "the image of Jane Doe", "/home/jane", "Error: 17", "E" * 65, "NotReadyError\n", None]
)
def test_a_refusal_holds_the_name_of_a_class_and_no_sentence(reason: object) -> None:
    document = {**json.loads(REFUSAL.to_bytes()), "reason": reason}

    with pytest.raises(TrustError):
        Refusal.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("rule", ["", "a rule of Jane Doe", "/home/jane", "limits.rounds\n", "1.2.840", None])
def test_a_refusal_names_rules_as_the_policy_has_them_and_nothing_else(rule: object) -> None:
    document = {**json.loads(REFUSAL.to_bytes()), "rules": [rule]}

    with pytest.raises(TrustError):
        Refusal.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("metrics", [["accuracy"], ["patient"], "loss", None, [["loss"]], [1]])
def test_an_announcement_asks_for_metrics_that_are_known_and_no_others(metrics: object) -> None:
    document = {**json.loads(ANNOUNCEMENT.to_bytes()), "metrics": metrics}

    with pytest.raises(TrustError):
        Announcement.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"{" * 10_000, b'{"a":1}', CONTRIBUTION.to_bytes()]
)
def test_what_is_no_announcement_is_refused(content: bytes) -> None:
    with pytest.raises(TrustError):
        Announcement.from_bytes(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weight", 0),
        ("total", 0),
        ("bits", 32),
        ("bits", "16"),
        ("exponents", [61]),
        ("exponents", [-121]),
        ("exponents", [1.5]),
        ("exponents", None),
        ("state", "c" * 64),
        ("share", 0.5),
    ],
)
def test_an_announcement_with_impossible_terms_is_refused(key: str, value: object) -> None:
    document = json.loads(ANNOUNCEMENT.to_bytes())
    document["terms"][key] = value

    with pytest.raises(TrustError):
        Announcement.from_bytes(json.dumps(document).encode())
