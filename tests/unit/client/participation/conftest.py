"""A site's home that has joined, and a minimal coordinator that serves blobs to it over real TLS."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from sqlalchemy import create_engine

from client.catalog import Catalog, MaskOrigin, Provenance, new_example_id
from client.consenting import Consenting, Decider
from client.contact import ContactNote
from client.enrolment import Membership
from client.home import STORE_FILE, SiteHome
from client.imaging.example import Example, Label
from client.imaging.preparation import Geometry
from client.page.links import mint
from client.page.listening import listening
from client.store.ledger import Ledger, LedgerLine
from client.workplace import Workplace, open_workplace
from shared.audit.chain import GENESIS
from shared.audit.checkpoints import Checkpoint, sign_checkpoint
from shared.bands import Band
from shared.consent.records import OFFER_TYPE, Offer
from shared.enrolment import renewal_pb2, renewal_pb2_grpc
from shared.files import hold_folder, write_file
from shared.fixed_point.grid import Grid
from shared.fixed_point.update_file import read_update
from shared.masking.records import MaskingAsked
from shared.model import Weights, initial_model
from shared.model.networks import ARCHITECTURES, Architecture
from shared.model.sent import sent_shapes
from shared.model.weights import to_bytes, weights_of
from shared.persons.acting import Actor
from shared.persons.roles import Role
from shared.plan import MetricName, ModelPlan, Plan, RoundsPlan, TrainingPlan
from shared.records import (
    ANNOUNCEMENT_TYPE,
    Announcement,
    Counted,
    Delta,
    Occasion,
    Phase,
    Rejected,
    Terms,
    metrics_asked,
)
from shared.store import sqlite_url
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.rpc import REVOKED
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.anchors import Anchors
from shared.trust.envelope import Envelope, sign
from shared.trust.issuing import Issuer, new_root, new_server_certificate, new_site_certificate
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import mutual_server_credentials

SITE_ID = "site-1"
EXPONENT = -15
"""Of the grid's steps, unless a test names others."""

PLAN = Plan(
    name="participation",
    seed=5,
    rounds=RoundsPlan(count=3, timeout_s=60),
    model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    training=TrainingPlan(batch_size=2, learning_rate=1e-3),
)
BUNDLE_SHA256 = "b" * 64
POLICY = "data.min_examples = 1\negress.smallest_count = 1\n"
"""For a site with as few examples as these tests have."""

OWNER = Decider(actor=Actor(name="local:test", role=Role.ADMINISTRATOR), token=None)
SMALLEST = Architecture(stem_stride=2, channels=(4, 8), encoder_depth=1, decoder_depth=1)


@pytest.fixture(scope="module", autouse=True)
def smallest_network() -> Iterator[None]:
    """The real network at its smallest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", SMALLEST)
        yield


@dataclass
class MinimalCoordinator(renewal_pb2_grpc.RenewalServicer):
    """Signs announcements, serves blobs and tells a site its standing.

    What a site may move is a list; what it moved is written down.

    Attributes
    ----------
    refuses
        Digests that nobody may fetch.
    ledger_at_send
        The lines of the site's ledger at the moment when it asked to send a blob, by digest.
    """

    folder: Path
    home: SiteHome
    signing_key: SigningKey = field(default_factory=SigningKey.generate)
    refuses: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    ledger_at_send: dict[str, list[str]] = field(default_factory=dict)
    has_revoked: bool = False
    clock: Callable[[], float] = time.time
    software_version: str = ""

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.folder)
        self.root_key, self.tls_key = TlsKey.generate(), TlsKey.generate()
        now = time.time()
        self.root_pem = new_root(federation_name="Test", key=self.root_key, now=now)
        chain_pem = new_server_certificate(
            hosts=["127.0.0.1"],
            key=self.tls_key,
            root_pem=self.root_pem,
            issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
            now=now,
        )
        self.server, self.port = serve_blobs(
            TransferService(self.blobs, self),
            host="127.0.0.1",
            port=0,
            credentials=mutual_server_credentials(
                chain_pem=chain_pem, key=self.tls_key, root_pem=self.root_pem
            ),
            num_threads=4,
            add_others=lambda server: renewal_pb2_grpc.add_RenewalServicer_to_server(self, server),
        )

    def Standing(
        self, _request: renewal_pb2.StandingRequest, context: grpc.ServicerContext
    ) -> renewal_pb2.StandingReply:
        if self.has_revoked:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
        return renewal_pb2.StandingReply(server_time=self.clock(), software_version=self.software_version)

    def is_active(self, site_id: str) -> bool:
        return site_id == SITE_ID

    def may_fetch(self, _site_id: str, digest: str) -> bool:
        self.fetched.append(digest)
        return digest not in self.refuses

    def may_send(self, _site_id: str, digest: str, _size_bytes: int) -> bool:
        self.ledger_at_send[digest] = [row.sha256 for row in ledger_rows(self.home)]
        return True

    def enrol(self) -> None:
        """Make the home one that has joined."""
        tls_key = TlsKey.generate()
        tls_key.save(self.home.tls_key_file)
        SigningKey.generate().save(self.home.signing_key_file)
        NodeKey.generate().save(self.home.node_key_file)
        write_file(self.home.approved_bundles_file, BUNDLE_SHA256.encode())
        self.home.write_membership(
            Membership(
                site_id=SITE_ID,
                site_name="aarhus",
                certificate_pem=new_site_certificate(
                    csr_pem=new_csr(tls_key),
                    site_id=SITE_ID,
                    issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
                    now=time.time(),
                ),
                anchors=Anchors(roots_pem=(self.root_pem,), signing_key=self.signing_key.verify_key),
                coordinator_name="Test",
                fleet_address=f"127.0.0.1:{self.port}",
                transfer_address=f"127.0.0.1:{self.port}",
            )
        )

    def offer(self, plan: Plan = PLAN, *, run_id: str = "run-1") -> bytes:
        """The signed offer of a plan."""
        offer = Offer(
            run_id=run_id,
            site_id=SITE_ID,
            plan_sha256=plan.sha256,
            plan_toml=plan.to_toml(),
            bundle_sha256=BUNDLE_SHA256,
        )
        return sign(OFFER_TYPE, offer.to_bytes(), self.signing_key).to_bytes()

    def approve(self, plan: Plan = PLAN, *, run_id: str = "run-1") -> None:
        """Have the site's owner approve a plan that is offered to it."""
        envelope = self.offer(plan, run_id=run_id)
        with Consenting(self.home) as consenting:
            offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
            consenting.plans.keep(offer, envelope=envelope, at=time.time())
            consenting.approve(run_id, OWNER)

    def announcement(
        self,
        *,
        plan: bytes | None = None,
        base: bytes | None = None,
        phase: Phase = Phase.TRAIN,
        round_number: int = 1,
        deadline_in_s: float = 60,
        settings: Plan = PLAN,
        terms: dict[str, object] | None = None,
        checkpoint: str | None = None,
        metrics: tuple[MetricName, ...] | None = None,
        delta: Delta | None = None,
        counted: int | Counted | None = None,
        rejected: Rejected | None = None,
        masking: MaskingAsked | None = None,
        **occasion: object,
    ) -> Announcement:
        """An announcement of the plan and its first weights, or of other bytes in their place.

        Unless a test says otherwise, the site's contribution to the round before counts.
        """
        if counted is None and round_number > 1 and phase is Phase.TRAIN:
            counted = round_number - 1
        plan_blob = self.blobs.put_bytes(settings.to_toml().encode() if plan is None else plan)
        first = to_bytes(weights_of(initial_model(settings)))
        base_blob = self.blobs.put_bytes(first if base is None else base)
        document_of_terms = {
            "weight": 1,
            "total": 2,
            "bits": settings.aggregation.bits,
            "exponents": [EXPONENT] * len(sent_shapes(initial_model(settings), settings.aggregation)),
            "state": None,
            **(terms or {}),
        }
        document = {
            "run_id": "run-1",
            "plan_sha256": plan_blob.digest,
            "round_number": round_number,
            "attempt": 1,
            "phase": phase,
            "site_id": SITE_ID,
            "base_digest": base_blob.digest,
            **occasion,
        }
        if isinstance(counted, int):
            counted = Counted(run_id=document["run_id"], round_number=counted) if counted else None
        return Announcement(
            occasion=Occasion.model_validate(document),
            plan=plan_blob,
            base=base_blob,
            terms=Terms.model_validate(document_of_terms) if phase is Phase.TRAIN else None,
            counted=counted,
            rejected=rejected,
            metrics=metrics_asked(phase, settings.metrics) if metrics is None else metrics,
            deadline=time.time() + deadline_in_s,
            checkpoint=checkpoint or self.checkpoint(),
            delta=delta,
            masking=masking,
        )

    def checkpoint(self, *, sequence: int = 0, head: str = GENESIS, at: float | None = None) -> str:
        """Where the coordinator's audit log stands, or is said to stand."""
        at_ms = round((time.time() if at is None else at) * 1000)
        checkpoint = Checkpoint(side="coordinator", sequence=sequence, head=head, at_ms=at_ms)
        return sign_checkpoint(checkpoint, self.signing_key).to_bytes().decode()

    def ask(self, announcement: Announcement, *, key: SigningKey | None = None) -> bytes:
        """The announcement in its signed envelope."""
        return sign(ANNOUNCEMENT_TYPE, announcement.to_bytes(), key or self.signing_key).to_bytes()

    def received(self, blob: BlobRef) -> bytes:
        """The bytes of an update that has arrived, as its digest names them."""
        self.blobs.verify(blob)
        return self.blobs.path(blob.digest).read_bytes()

    def received_update(self, blob: BlobRef, announcement: Announcement, plan: Plan = PLAN) -> Weights:
        """An update that has arrived, read on the announced grid, not scaled any more."""
        terms = announcement.terms
        assert terms is not None
        shapes = sent_shapes(initial_model(plan), plan.aggregation)
        exponents = dict(zip(shapes, terms.exponents, strict=True))
        grid = Grid(bits=terms.bits, shapes=shapes, exponents=exponents)
        values = {name: np.zeros(grid.size(name), np.float32) for name in shapes}
        blocks = read_update(io.BytesIO(self.received(blob)), grid)
        for block, integers in zip(grid.blocks(), blocks, strict=True):
            scaled = integers * (grid.step(block.name) * terms.total / terms.weight)
            values[block.name][block.start : block.stop] = scaled
        return {name: torch.from_numpy(values[name]).reshape(shapes[name]) for name in shapes}


def ledger_rows(home: SiteHome) -> list[LedgerLine]:
    """The lines of a home's ledger, read over a connection of its own."""
    engine = create_engine(sqlite_url(home.folder / STORE_FILE))
    lines = Ledger(engine).lines()
    engine.dispose()
    return lines


def add_example(catalog: Catalog, *, patient: str, seed: int, category_alone: Band | None = None) -> str:
    """A half-disc of breast with a dense patch; with a mask, or with a category alone."""
    is_masked = category_alone is None
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:64j, 0:1:64j]
    labels_HW = np.where(rows**2 + columns**2 < 0.8, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    labels_HW[rows**2 + (columns - random.uniform(0.3, 0.5)) ** 2 < 0.05] = Label.DENSE
    image_HW = (np.array([0.0, 0.3, 0.8, 0.9])[labels_HW] * 60_000).astype(np.uint16)
    example_id = new_example_id()
    catalog.add(
        Example(example_id=example_id, image_HW=image_HW, labels_HW=labels_HW if is_masked else None),
        Provenance(
            patient=patient,
            source=f"{patient}-{seed}",
            content=f"{patient}-{seed}",
            geometry=Geometry(
                source_shape=image_HW.shape,
                mirrored=False,
                box=(0, 0, *image_HW.shape),
                prepared_shape=image_HW.shape,
            ),
            density=category_alone,
        ),
        MaskOrigin(kind="png") if is_masked else None,
    )
    return example_id


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    """A folder that is not yet a home."""
    return SiteHome(tmp_path / "home")


@pytest.fixture
def coordinator(home: SiteHome, tmp_path: Path) -> Iterator[MinimalCoordinator]:
    """A coordinator that the home has joined."""
    coordinator = MinimalCoordinator(tmp_path / "coordinator", home)
    coordinator.enrol()
    yield coordinator
    coordinator.server.stop(None).wait(10)


@pytest.fixture
def workplace(coordinator: MinimalCoordinator, home: SiteHome) -> Iterator[Workplace]:
    """The home, opened, with examples of six patients in the three parts and the plan approved."""
    home.settings_file.write_text('device = "cpu"\n')
    home.policy_file.write_text(POLICY)
    with Catalog.open(home.folder) as catalog:
        for seed in range(6):
            add_example(catalog, patient=f"patient-{seed}", seed=seed)
    coordinator.approve()
    workplace = open_workplace(home)
    yield workplace
    workplace.catalog.close()


@pytest.fixture
def base(coordinator: MinimalCoordinator, home: SiteHome) -> Iterator[str]:
    """The page's address, while the site holds its home as a running one does."""
    ContactNote(home.contact_file).answered("test")
    with hold_folder(home.folder), listening(home) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def key(base: str, home: SiteHome) -> str:
    return mint(home, actor="local:admin").partition("#")[2]


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}
