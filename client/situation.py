"""What a site tells of itself outside of runs, if its policy lets it: labelled examples by part, and GPUs.

A count leaves as `egress` says, and a new one only once it differs in at least `egress.smallest_count`
examples from those that the last one was of, so that no difference of two tells of a few patients. Where the
policy keeps it from now on, the coordinator is told that, and forgets what it had.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from client.catalog import Catalog, Part
from client.consent_channel import ConsentChannel
from client.enrolment import Membership
from client.gpus import Gpu, list_gpus
from client.home import SiteHome
from client.policy.decisions import reported_count
from client.policy.policy import EgressTable
from client.policy.reading import read_policy
from client.store.ledger import Kind, Ledger, LedgerEntry, Rule, names_in
from client.store.situations import Situations, ToldSituation
from shared.consent import consent_pb2
from shared.consent.records import SITUATION_TYPE, GpuModel, Situation
from shared.errors import PolicyFileError
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
CALL_TIMEOUT_S = 10.0
MIB_PER_GIB = 1024
PARTS: Mapping[Part, str] = {Part.TRAIN: "training", Part.VALIDATION: "validation", Part.TEST: "test"}
"""By the names that they have in a situation."""


def settled_counts(
    counts: Mapping[Part, int], before: Mapping[Part, int] | None, *, smallest: int
) -> dict[Part, int]:
    """The numbers that are told of: those from before, until they differ enough."""
    if before is None:
        return dict(counts)
    return {
        part: count if abs(count - before[part]) >= smallest else before[part]
        for part, count in counts.items()
    }


def situation_of(
    counts: Mapping[Part, int], gpus: Sequence[Gpu], egress: EgressTable, *, number: int, site_id: str
) -> Situation:
    """What may be told of so many labelled examples and of these GPUs."""
    if egress.readiness == "kept":
        return Situation(number=number, site_id=site_id, is_told=False)
    told: dict[str, Any] = {name: reported_count(egress, counts[part]) for part, name in PARTS.items()}
    return Situation(
        number=number, site_id=site_id, is_told=True, gpus=tuple(map(_model_of, gpus[:64])), **told
    )


class SituationTelling:
    """Tells the coordinator when something has changed; looks once a minute."""

    def __init__(self, home: SiteHome, *, situations: Situations, catalog: Catalog, ledger: Ledger) -> None:
        self._home = home
        self._situations = situations
        self._catalog = catalog
        self._ledger = ledger
        self._looked_at = -LOOK_EVERY_S
        self._is_unknown_there = False

    def tell(self, channel: ConsentChannel, membership: Membership) -> None:
        """Tell it, if there is something new and the coordinator's version takes it.

        Raises
        ------
        UnreachableError
            The coordinator does not answer.
        TrustError
            It does not accept this site.
        """
        if self._is_unknown_there or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        told = self._news(membership)
        if told is not None:
            self._send(channel, membership, told)
        self._looked_at = time.monotonic()

    def _news(self, membership: Membership) -> ToldSituation | None:
        try:
            egress = read_policy(self._home.policy_file).egress
        except PolicyFileError:  # nothing leaves under a policy that cannot be read
            return None
        last = self._situations.last()
        if egress.readiness == "kept" and last is None:
            return None
        is_kept = egress.readiness == "kept"
        counts = dict.fromkeys(PARTS, 0) if is_kept else self._counts(last, egress.smallest_count)
        gpus = () if is_kept else list_gpus()
        number = max((last.number if last else 0) + 1, int(time.time()))
        new = situation_of(counts, gpus, egress, number=number, site_id=membership.site_id)
        if last is not None:
            same = new.model_copy(update={"number": last.number})
            if same.to_bytes() == last.payload:
                return None
            if is_kept:
                counts = dict(last.counts)  # still what a later one has to differ from
        return ToldSituation(number=number, counts=counts, payload=new.to_bytes())

    def _counts(self, last: ToldSituation | None, smallest: int) -> dict[Part, int]:
        by_part = self._catalog.counts().by_part
        now = {part: by_part[part] for part in PARTS}
        return settled_counts(now, last.counts if last else None, smallest=smallest)

    def _send(self, channel: ConsentChannel, membership: Membership, told: ToldSituation) -> None:
        key = SigningKey.load(self._home.keys(membership.key_generation).signing)
        envelope = sign(SITUATION_TYPE, told.payload, key).to_bytes()
        blob = BlobRef.of(envelope)
        self._ledger.append(
            LedgerEntry(
                kind=Kind.SITUATION,
                rule=Rule.READINESS,
                names=tuple(names_in(json.loads(told.payload))),
                size_bytes=blob.size_bytes,
                sha256=blob.digest,
            ),
            at=time.time(),
        )
        with channel.calling(membership) as stub:
            try:
                stub.Situate(consent_pb2.SituateRequest(envelope=envelope), timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._is_unknown_there = True  # it is asked again when this site starts anew
                    return
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                log.error("the coordinator refuses what this site tells of itself: %s", error.details())
        self._situations.keep(told, at=time.time())


def _model_of(gpu: Gpu) -> GpuModel:
    """Its maker's name in plain characters; memory in whole GiB."""
    name = re.sub(r"[^A-Za-z0-9 _-]+", " ", gpu.name).strip()[:64] or "unknown"
    memory_gib = None if gpu.total_mib is None else max(1, round(gpu.total_mib / MIB_PER_GIB))
    return GpuModel(name=name, memory_gib=memory_gib)
