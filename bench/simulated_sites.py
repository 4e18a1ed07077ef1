"""Many light sites in one process, each with keys, connections and blobs of its own.

`python -m bench.simulated_sites FOLDER` reads invitations, one a line, from FOLDER/invitations. Each site
joins, approves what it is offered, and takes part in rounds over the real protocol: enrolment, consent,
Flower's Fleet API by the product's own pauses and heartbeats, blobs over mutual TLS, signed envelopes. It
trains nothing: its update is noise on the round's grid. A line in FOLDER/online tells of each site that is
connected; the process ends with its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import flwr.supernode.fleet_http_connection as flower_connection
import numpy as np
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_objects,
)

from client.downloads import Downloads
from client.enrolment import Membership, enrol
from client.flower.pace import NodeClock
from client.flower.supernode import hasten
from shared.audit.chain import GENESIS
from shared.audit.checkpoints import Checkpoint, sign_checkpoint
from shared.consent import consent_pb2, consent_pb2_grpc
from shared.consent.records import POLICY, STATED_DECISION_TYPE, Decision, Offer, StatedDecision, Verdict
from shared.enrolment.token import InvitationToken
from shared.evaluation.records import Evaluation, Moments
from shared.fixed_point.grid import Grid
from shared.fixed_point.update_file import write_update
from shared.flower.wire import pack, unpack
from shared.model import blank_model
from shared.model.sent import sent_shapes
from shared.plan import Plan
from shared.records import (
    ANNOUNCEMENT_TYPE,
    CONTRIBUTION_TYPE,
    Announcement,
    Contribution,
    Phase,
)
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.rpc import open_channel
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.tls import mutual_channel_credentials

log = logging.getLogger(__name__)

INVITATIONS = "invitations"
ONLINE = "online"
TEND_S = 2.0
"""Between two looks for offers, as the product has it."""

FLOWERS_PAUSE_S, RESTART_S = 3.0, 0.5
AT_ONCE = 4
SPREAD = 900
"""Of the integers of an update: about 11 bits of 16 stay when it is packed."""

EVALUATION = Evaluation(num_examples=10, loss=Moments(num_images=10, mean=0.5, variance=0.01))


@dataclass(slots=True, kw_only=True)
class LightSite:
    """One site: what it is known by, its connections and its blobs."""

    membership: Membership
    signing_key: SigningKey
    node_key: NodeKey
    blobs: BlobStore
    transfer: BlobClient
    consent: consent_pb2_grpc.ConsentStub
    approved: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def join(cls, token: InvitationToken, folder: Path) -> LightSite:
        """Enrol with new keys."""
        signing_key, tls_key, node_key = SigningKey.generate(), TlsKey.generate(), NodeKey.generate()
        membership = enrol(
            token,
            signing_key=signing_key,
            tls_key=tls_key,
            node_key=node_key,
            software_version="0.1.0",
            on_leaving=lambda _request, _names: None,
        )
        assert membership is not None
        credentials = mutual_channel_credentials(
            root_pem=membership.anchors.bundle_pem,
            certificate_pem=membership.certificate_pem,
            key=tls_key,
        )
        channel = open_channel(membership.transfer_address, credentials)
        return cls(
            membership=membership,
            signing_key=signing_key,
            node_key=node_key,
            blobs=BlobStore(folder / membership.site_id),
            transfer=BlobClient(channel),
            consent=consent_pb2_grpc.ConsentStub(channel),  # type: ignore[no-untyped-call]
        )

    def tend_offers(self) -> None:
        """Approve whatever is offered."""
        for content in self.consent.Offers(consent_pb2.OffersRequest(), timeout=30).envelope:
            payload = Envelope.from_bytes(content).unverified_payload
            offer = Offer.from_bytes(payload)
            if offer.run_id in self.approved:
                continue
            decision = Decision(
                number=1 + len(self.approved),
                site_id=self.membership.site_id,
                run_id=offer.run_id,
                plan_sha256=offer.plan_sha256,
                verdict=Verdict.APPROVED,
                actor=POLICY,
                decided_at=time.time(),
            )
            stated = StatedDecision.of(decision, None, None).to_bytes()
            envelope = sign(STATED_DECISION_TYPE, stated, self.signing_key).to_bytes()
            self.consent.State(consent_pb2.StateRequest(envelope=envelope), timeout=30)
            self.approved.add(offer.run_id)

    def tend(self) -> None:
        """Look for offers until told to stop."""
        while not self.stopping.wait(TEND_S):
            self.tend_offers()

    def serve(self, online: Path) -> None:
        """Be a node until told to stop; one that ends is started again, as a supervisor does it."""
        while not self.stopping.is_set():
            try:
                self._serve(online)
            except (Exception, SystemExit):  # a node that cannot reach the coordinator ends its process
                log.exception("a node has ended")
                self.stopping.wait(RESTART_S)

    def _serve(self, online: Path) -> None:
        """Ask for messages and answer them."""
        private_key = self.node_key.private
        with flower_connection.http_request_response(
            self.membership.fleet_address,
            insecure=False,
            root_certificates=self.membership.anchors.bundle_pem,
            authentication_keys=(private_key, private_key.public_key()),
        ) as connection:
            with online.open("a") as file:
                file.write(f"{self.membership.site_id}\n")
            _, receive, send, _get_run, _get_fab, pull_object, push_object, confirm = connection
            clock = NodeClock()
            while not self.stopping.is_set():
                if (received := receive()) is None:
                    clock.sleep(FLOWERS_PAUSE_S)
                    continue
                clock.sleep(0)
                message, tree = received
                run_id = message.metadata.run_id
                whole = pull_and_inflate_object_from_tree(
                    tree,
                    partial(pull_object, run_id),
                    partial(confirm, run_id),
                    return_type=Message,
                )
                whole.metadata.__dict__["_message_id"] = tree.object_id
                reply = Message(pack(self.answer(unpack(whole))), reply_to=whole)
                reply.metadata.__dict__["_message_id"] = reply.object_id
                with no_object_id_recompute():
                    objects = get_all_nested_objects(reply)
                    wanted, session = send(remove_content_from_message(reply), get_object_tree(reply), 0.1)
                    push_objects(
                        objects,
                        partial(push_object, run_id, session),
                        object_ids_to_push=set(wanted),
                    )

    def answer(self, envelope: bytes) -> bytes:
        """The signed contribution to an announcement."""
        payload = verify(
            Envelope.from_bytes(envelope), ANNOUNCEMENT_TYPE, self.membership.anchors.signing_key
        )
        announcement = Announcement.from_bytes(payload)
        phase, update = announcement.occasion.phase, None
        if phase is not Phase.COUNT:
            downloads = Downloads(
                announcement=announcement,
                blobs=self.blobs,
                transfer=self.transfer,
                should_stop=self.stopping.is_set,
            )
            downloads.forget_other_rounds()
            plan = Plan.from_toml(downloads.fetch(announcement.plan).read_bytes())
            downloads.fetch_base()
            if phase is Phase.TRAIN:
                update = self._update(announcement, plan)
                self.transfer.send(update, self.blobs)
        at_ms = round(1000 * time.time())
        checkpoint = Checkpoint(side=self.membership.site_id, sequence=0, head=GENESIS, at_ms=at_ms)
        contribution = Contribution(
            occasion=announcement.occasion,
            num_examples=0 if phase is Phase.EVALUATE else 100,
            update=update,
            num_clipped=0,
            train_loss=0.5 if phase is Phase.TRAIN else None,
            evaluation=None if phase is Phase.COUNT else EVALUATION,
            personal_evaluation=None,
            appearance=None,
            duration_s=10.0,
            checkpoint=sign_checkpoint(checkpoint, self.signing_key).to_bytes().decode(),
            masking=None,
            epsilon=None,
        )
        return sign(CONTRIBUTION_TYPE, contribution.to_bytes(), self.signing_key).to_bytes()

    def _update(self, announcement: Announcement, plan: Plan) -> BlobRef:
        terms, occasion = announcement.terms, announcement.occasion
        assert terms is not None
        shapes = sent_shapes(blank_model(plan.model), plan.aggregation)
        exponents = dict(zip(shapes, terms.exponents, strict=True))
        grid = Grid(bits=terms.bits, shapes=shapes, exponents=exponents)
        seed = int.from_bytes(self.membership.site_id.encode())
        random = np.random.default_rng([occasion.round_number, seed])
        with self.blobs.draft() as draft:
            with draft.open("wb") as file:
                blocks = (random.integers(-SPREAD, SPREAD, block.size, np.int16) for block in grid.blocks())
                write_update(file, grid, blocks, compress=True)
            return self.blobs.put_draft(draft)


def main(folder: Path) -> None:
    """Bring all sites in, and let them live until standard input is closed."""
    hasten()
    texts = (folder / INVITATIONS).read_text().split()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sites = list(pool.map(lambda text: LightSite.join(InvitationToken.parse(text), folder), texts))
    for site in sites:
        for work in (site.tend, partial(site.serve, folder / ONLINE)):
            threading.Thread(target=_or_end, args=(work,), daemon=True).start()
    while os.read(0, 1024):
        pass
    os._exit(0)


def _or_end(work: Any) -> None:
    """A site that breaks ends the whole measurement, unnoticed by nobody."""
    try:
        work()
    except Exception:
        log.exception("a site has failed")
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
