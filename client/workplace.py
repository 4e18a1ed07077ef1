"""A site's home, opened for taking part in rounds."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from client.budget import Budget
from client.catalog import Catalog, Part
from client.downloads import Downloads
from client.egress import Egress
from client.enrolment import Membership
from client.evaluation.evaluator import Evaluator
from client.guard import Guard
from client.home import SiteHome
from client.masked_part import MaskedPart
from client.masking import Parties
from client.personalising import Material, Personaliser
from client.round_records import RoundRecords
from client.standing import learn
from client.store.audit import AuditLog
from client.store.evaluations import Evaluations
from client.store.labelled import LabelledExamples
from client.store.ledger import Ledger
from client.store.noisy_rounds import NoisyRounds
from client.store.opening import open_site_store
from client.store.personal_models import PersonalModels
from client.store.plans import Plans
from client.store.signed_survivors import SignedSurvivors
from client.training.dataset import FittedDataset
from client.training.device import training_devices
from client.training.site_trainer import SiteTrainer
from client.work import WorkNote
from shared.errors import MammofedError, NotFoundError, NotReadyError
from shared.plan import Plan
from shared.records import Announcement
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.rpc import open_channel
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import mutual_channel_credentials

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Workplace:
    """What stays warm at a site between messages: its identity, its data at the plan's size, its network."""

    membership: Membership
    catalog: Catalog
    evaluator: Evaluator
    personaliser: Personaliser
    blobs: BlobStore
    transfer: BlobClient
    egress: Egress
    records: RoundRecords
    audit: AuditLog
    guard: Guard
    budget: Budget
    masked_part: MaskedPart
    trainer: SiteTrainer
    work: WorkNote
    _datasets: dict[tuple[str, Part], FittedDataset | None] = field(default_factory=dict)

    def watch(self, announcement: Announcement) -> Callable[[], bool]:
        """Tells whether work on an announcement must stop."""
        return partial(self.guard.must_stop, announcement)

    def downloads(self, announcement: Announcement) -> Downloads:
        """Fetches what an announcement names, until work on it must stop."""
        return Downloads(
            announcement=announcement,
            blobs=self.blobs,
            transfer=self.transfer,
            should_stop=self.watch(announcement),
        )

    def examples(self, plan: Plan, part: Part) -> list[str]:
        """Ids of a part's examples; also of those without a mask, if a head for bands has use for them."""
        return self.catalog.examples(part, categorised=plan.model.has_band_head)

    def fingerprint(self, plan: Plan, part: Part) -> str:
        """A hash that changes whenever an example of the part came, went, or got another label."""
        state = f"{self.catalog.labels()}{self.examples(plan, part)}"
        return hashlib.sha256(state.encode()).hexdigest()

    def dataset(self, plan: Plan, part: Part) -> FittedDataset | None:
        """The examples of a part, fitted to the plan's input; None if there is none."""
        labels, example_ids = self.catalog.labels(), self.examples(plan, part)
        key = (f"{plan.model.model_dump_json()}{labels}{example_ids}", part)
        if key not in self._datasets:
            self._datasets = {kept: data for kept, data in self._datasets.items() if kept[1] is not part}
            examples = (self.catalog.load(example_id) for example_id in example_ids)
            try:
                self._datasets[key] = FittedDataset(examples, plan.model) if example_ids else None
            except NotFoundError:  # removed since it was listed
                return self.dataset(plan, part)
        return self._datasets[key]

    def noted_dataset(self, plan: Plan, part: Part, run_id: str) -> FittedDataset | None:
        """A part, noted as used by a run: whoever is taken out later learns of that run."""
        while True:
            dataset = self.dataset(plan, part)
            self.catalog.note_use(run_id, part, categorised=plan.model.has_band_head)
            # Unchanged since: nobody in it was taken out or came in before the note.
            if self.dataset(plan, part) is dataset:
                return dataset

    def patients(self, dataset: FittedDataset, plan: Plan, part: Part) -> list[list[int]]:
        """Positions in a data set of each patient's examples.

        Raises
        ------
        NotReadyError
            One of them was removed since the data set was made.
        """
        whose = self.catalog.patients(part, categorised=plan.model.has_band_head)
        if not whose.keys() >= set(dataset.example_ids):
            raise NotReadyError(
                "A patient was removed while training was about to begin.",
                "Nothing needs to be done: this site takes part in the next attempt or round.",
            )
        positions: dict[str, list[int]] = {}
        for position, example_id in enumerate(dataset.example_ids):
            positions.setdefault(whose[example_id], []).append(position)
        return list(positions.values())

    def material(self, plan: Plan, run_id: str) -> Material:
        """What a personal model is made from."""
        num_removals = self.personaliser.kept.num_removals()
        return Material(
            training=self.noted_dataset(plan, Part.TRAIN, run_id),
            validation=self.noted_dataset(plan, Part.VALIDATION, run_id),
            fingerprint=self.fingerprint(plan, Part.TRAIN) + self.fingerprint(plan, Part.VALIDATION),
            num_removals=num_removals,
        )


def open_workplace(home: SiteHome) -> Workplace:
    """Open a home that has joined.

    Raises
    ------
    HomeError
        The site has not joined.
    StoreError, TrustError, ConfigError
        Its database, keys or settings cannot be used.
    """
    membership = home.membership()
    keys = home.keys(membership.key_generation)
    engine = open_site_store(home.folder)
    blobs, audit = BlobStore(home.blobs), AuditLog(engine)
    catalog = Catalog(engine, home.folder)
    settings = home.settings()
    devices = training_devices(settings.device, settings.gpus)
    budget = Budget(rounds=NoisyRounds(engine), catalog=catalog)
    guard = Guard(home, Plans(engine), catalog, budget)
    return Workplace(
        membership=membership,
        catalog=catalog,
        evaluator=Evaluator(labelled=LabelledExamples(engine), kept=Evaluations(engine), device=devices[0]),
        personaliser=Personaliser(kept=PersonalModels(engine), device=devices[0]),
        blobs=blobs,
        records=RoundRecords(home.rounds),
        transfer=_connect(home, membership),
        egress=Egress(
            site_id=membership.site_id,
            ledger=Ledger(engine),
            log=audit,
            blobs=blobs,
            signing_key=SigningKey.load(keys.signing),
        ),
        audit=audit,
        guard=guard,
        budget=budget,
        masked_part=MaskedPart(guard=guard, signed=SignedSurvivors(engine), parties=Parties()),
        trainer=SiteTrainer.on(devices),
        work=WorkNote(home.work_file),
    )


def follow_membership(workplace: Workplace, home: SiteHome) -> None:
    """Go on with the certificate and keys of a membership that was renewed; to be called between messages.

    Raises
    ------
    HomeError, StoreError, TrustError
        Membership or keys cannot be read; the workplace stays as it is.
    """
    membership = home.membership()
    if membership == workplace.membership:
        return
    signing_key = SigningKey.load(home.keys(membership.key_generation).signing)
    workplace.transfer = _connect(home, membership)
    workplace.egress = replace(workplace.egress, signing_key=signing_key)
    workplace.membership = membership


def catch_up(workplace: Workplace, home: SiteHome) -> None:
    """Ask what the coordinator is to be believed by, and go on with that; without an answer, as before."""
    try:
        learn(home)
        follow_membership(workplace, home)
    except MammofedError as error:
        log.warning("%s %s", error.message, error.hint)


def _connect(home: SiteHome, membership: Membership) -> BlobClient:
    credentials = mutual_channel_credentials(
        root_pem=membership.anchors.bundle_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.keys(membership.key_generation).tls),
    )
    return BlobClient(open_channel(membership.transfer_address, credentials, home.proxy()))
