"""Opening a site's home for taking part in rounds."""

from __future__ import annotations

import logging
from dataclasses import replace

from client.catalog import Catalog
from client.egress import Egress
from client.enrolment import Membership
from client.evaluation.evaluator import Evaluator
from client.guard import Guard
from client.home import SiteHome
from client.participation import Workplace
from client.round_records import RoundRecords
from client.standing import learn
from client.store.audit import AuditLog
from client.store.evaluations import Evaluations
from client.store.labelled import LabelledExamples
from client.store.ledger import Ledger
from client.store.opening import open_site_store
from client.store.plans import Plans
from client.training.device import training_devices
from client.training.site_trainer import SiteTrainer
from client.work import WorkNote
from shared.errors import MammofedError
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.rpc import open_channel
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import mutual_channel_credentials

log = logging.getLogger(__name__)


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
    return Workplace(
        membership=membership,
        catalog=catalog,
        evaluator=Evaluator(labelled=LabelledExamples(engine), kept=Evaluations(engine), device=devices[0]),
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
        guard=Guard(home, Plans(engine), catalog),
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
