"""The executor of a hostile site, in place of the real one.

    python -m tests.faults.rogue_executor HOME PORT

It has all that the site has: its keys, its certificate, its node. It counts and evaluates as the protocol
says; what it answers in a training round is one deed of `DEEDS` by the number of the round.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import flwr.supercore.heartbeat as flower_heartbeat
import flwr.supernode.runtime.run_clientapp as flower_task
import grpc
import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

import client.flower.executor as real
from client.flower.pace import quicken, try_again
from client.home import SiteHome
from client.participation import take_part
from client.workplace import Workplace
from shared.fixed_point.planes import PlanePacker
from shared.fixed_point.rounding import Rounding
from shared.fixed_point.update_file import write_update
from shared.flower.pulls import pull_soon
from shared.flower.wire import pack, unpack
from shared.model import build_model
from shared.model.sent import sent_shapes
from shared.model.weights import from_bytes
from shared.plan import Plan
from shared.records import ANNOUNCEMENT_TYPE, CONTRIBUTION_TYPE, Announcement, Contribution, Phase
from shared.supervision import Pulse, follow_supervisor
from shared.terminal import log_to_standard_error
from shared.transfer import transfer_pb2, transfer_pb2_grpc
from shared.transfer.blob_ref import BlobRef
from shared.transfer.rpc import SENT_CHUNK_BYTES, open_channel
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import mutual_channel_credentials
from tests.unit.server.simulated_federation import Asked

log = logging.getLogger(__name__)

RUBBISH_BYTES = 10_000_000_000


class Rogue:
    """One hostile site."""

    def __init__(self, home: SiteHome, workplace: Workplace) -> None:
        self._home = home
        self._workplace = workplace
        self._said: dict[int, bytes] = {}

    def answer(self, envelope: bytes) -> bytes:
        """What goes back for an announcement."""
        key = self._workplace.membership.anchors.signing_key
        announcement = Announcement.from_bytes(verify(Envelope.from_bytes(envelope), ANNOUNCEMENT_TYPE, key))
        number = announcement.occasion.round_number
        if announcement.occasion.phase is not Phase.TRAIN or number not in DEEDS:
            said = take_part(envelope, self._workplace)
        else:
            said = DEEDS[number](self, self._read(announcement))
        self._said[number] = said
        return said

    def _read(self, announcement: Announcement) -> Asked:
        blobs, transfer = self._workplace.blobs, self._workplace.transfer
        for blob in (announcement.plan, announcement.base):
            transfer.fetch(blob, blobs)
        plan = Plan.from_toml(blobs.path(announcement.plan.digest).read_bytes())
        network = build_model(plan.model)
        base = from_bytes(blobs.path(announcement.base.digest).read_bytes(), like=network.state_dict())
        sent = sent_shapes(network, plan.aggregation)
        return Asked(announcement=announcement, plan=plan, base=base, sent=sent)

    def rounded(self, asked: Asked, factor: float = 1.0) -> list[np.ndarray]:
        """The blocks of some update on the round's grid, or of one that is so many times as large."""
        grid = asked.grid(asked.base)
        rounding = Rounding(grid=grid, share=asked.terms.weight / asked.terms.total, key=b"r" * 32)
        drawn = torch.Generator().manual_seed(asked.occasion.round_number)
        update = {
            name: factor * 1e-3 * torch.randn(tensor.shape, generator=drawn).numpy()
            for name, tensor in asked.base.items()
        }
        return list(rounding.blocks(update))

    def contribution(self, asked: Asked, blob: BlobRef | None, **changes: object) -> bytes:
        """A signed contribution, with fields replaced past all checks of its own."""
        log_position = self._workplace.egress.log.checkpoint(
            side=asked.occasion.site_id, key=self._signing_key, at=asked.announcement.deadline
        )
        told = Contribution(
            occasion=asked.occasion,
            num_examples=2,
            update=blob,
            num_clipped=0,
            train_loss=1.0,
            evaluation=None,
            personal_evaluation=None,
            appearance=None,
            duration_s=10.0,
            checkpoint=log_position.to_bytes().decode(),
            masking=None,
            epsilon=None,
        )
        document = {**json.loads(told.to_bytes()), **changes}
        payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return sign(CONTRIBUTION_TYPE, payload, self._signing_key).to_bytes()

    def send(self, asked: Asked, content: bytes) -> bytes:
        """Upload these bytes as an update, and say so."""
        blob = self._workplace.blobs.put_bytes(content)
        self._workplace.transfer.send(blob, self._workplace.blobs)
        return self.contribution(asked, blob)

    @property
    def _signing_key(self) -> SigningKey:
        return SigningKey.load(self._home.signing_key_file)

    def send_floats(self, value: float, asked: Asked) -> bytes:
        """This value, as floats behind an honest header."""
        file = io.BytesIO()
        write_update(file, asked.grid(asked.base), [], compress=True)
        packer = PlanePacker(compress=True)
        for block in self.rounded(asked):
            file.write(packer.pack(np.full(len(block), value, np.float32).view(np.uint32)))
        return self.send(asked, file.getvalue())

    def send_thousandfold(self, asked: Asked) -> bytes:
        """An update a thousand times as large, on the announced grid: every value as large as it can be."""
        file = io.BytesIO()
        write_update(file, asked.grid(asked.base), self.rounded(asked, 1000.0), compress=True)
        return self.send(asked, file.getvalue())

    def send_on_a_wider_grid(self, asked: Asked) -> bytes:
        """The same on a grid that is wide enough for it."""
        terms = asked.terms.model_copy(update={"exponents": [each + 10 for each in asked.terms.exponents]})
        wider = Asked(
            announcement=asked.announcement.model_copy(update={"terms": terms}),
            plan=asked.plan,
            base=asked.base,
            sent=asked.sent,
        )
        file = io.BytesIO()
        write_update(file, wider.grid(asked.base), self.rounded(wider, 1000.0), compress=True)
        return self.send(asked, file.getvalue())

    def send_wrong_shapes(self, asked: Asked) -> bytes:
        """An update of a network whose tensors have one axis more."""
        other = {name: tensor.unsqueeze(0) for name, tensor in asked.base.items()}
        file = io.BytesIO()
        write_update(file, asked.grid(other), self.rounded(asked), compress=True)
        return self.send(asked, file.getvalue())

    def send_for_another_round(self, asked: Asked) -> bytes:
        """A whole update, said to be for the next round."""
        file = io.BytesIO()
        write_update(file, asked.grid(asked.base), self.rounded(asked), compress=True)
        blob = self._workplace.blobs.put_bytes(file.getvalue())
        self._workplace.transfer.send(blob, self._workplace.blobs)
        occasion = {**json.loads(asked.occasion.to_bytes()), "round_number": asked.occasion.round_number + 1}
        return self.contribution(asked, blob, occasion=occasion)

    def say_it_again(self, _asked: Asked) -> bytes:
        """The answer of the second round, which was admitted."""
        return self._said[2]

    def send_rubbish(self, asked: Asked) -> bytes:
        """Ten gigabytes: openly, then behind the size of an update."""
        size = asked.announcement.base.size_bytes
        for told in (RUBBISH_BYTES, size):
            blob = BlobRef(digest="5" * 64, size_bytes=told)
            log.info(
                "of %d bytes of rubbish said to be %d, %d were taken off",
                RUBBISH_BYTES,
                told,
                self._push(blob),
            )
        return self.contribution(asked, BlobRef(digest="5" * 64, size_bytes=size))

    def _push(self, blob: BlobRef) -> int:
        """How much of the rubbish left this process until the coordinator ended the call."""
        membership, taken = self._workplace.membership, 0

        def parts() -> Iterator[transfer_pb2.SendPart]:
            nonlocal taken
            header = transfer_pb2.SendHeader(digest=blob.digest, size_bytes=blob.size_bytes, offset=0)
            yield transfer_pb2.SendPart(header=header)
            for _ in itertools.repeat(None, RUBBISH_BYTES // SENT_CHUNK_BYTES):
                yield transfer_pb2.SendPart(data=bytes(SENT_CHUNK_BYTES))
                taken += SENT_CHUNK_BYTES

        credentials = mutual_channel_credentials(
            root_pem=membership.anchors.bundle_pem,
            certificate_pem=membership.certificate_pem,
            key=TlsKey.load(self._home.tls_key_file),
        )
        with open_channel(membership.transfer_address, credentials) as channel:
            try:
                transfer_pb2_grpc.TransferStub(channel).Send(parts(), timeout=60)
            except grpc.RpcError as error:
                log.info("the coordinator said %s", error.code())
        return taken


Deed = Callable[[Rogue, Asked], bytes]
DEEDS: dict[int, Deed] = {
    3: lambda rogue, asked: rogue.send_floats(float("nan"), asked),
    4: lambda rogue, asked: rogue.send_floats(float("inf"), asked),
    5: Rogue.send_thousandfold,
    6: Rogue.send_on_a_wider_grid,
    7: Rogue.send_wrong_shapes,
    8: Rogue.send_for_another_round,
    9: Rogue.say_it_again,
    10: Rogue.send_rubbish,
}
"""By the number of the round; in the others it takes part as the protocol says."""


def make_rogue_app(home: SiteHome, workplace: Workplace, _learn: Callable[[], None]) -> ClientApp:
    """The app that answers in the place of the site's own."""
    app, rogue = ClientApp(), Rogue(home, workplace)

    @app.train()
    def answer(message: Message, _context: Context) -> Message:
        return Message(pack(rogue.answer(unpack(message))), reply_to=message)

    return app


if __name__ == "__main__":
    follow_supervisor()
    pulse = Pulse()
    pulse.start()
    quicken(flower_heartbeat)
    pull_soon(flower_task, "pull_and_inflate_object_from_tree")
    try_again()
    log_to_standard_error()
    site_home = SiteHome(Path(sys.argv[1]))
    vars(real)["make_app"] = functools.partial(make_rogue_app, site_home)
    real.serve(site_home, int(sys.argv[2]), pulse)
