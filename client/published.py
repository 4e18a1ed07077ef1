"""What a site hears of the coordinator's published models, and what it then refuses."""

from __future__ import annotations

import logging
import time

from client.consent_channel import ConsentChannel
from client.enrolment import Membership
from client.home import SiteHome
from client.store.models import Models
from shared.consent import consent_pb2
from shared.consent.consent_pb2_grpc import ConsentStub
from shared.errors import ModelRevokedError, NotFoundError
from shared.package import VerifiedPackage
from shared.published import PUBLISHED_TYPE, ModelState, PublishedModel, PublishedModels
from shared.trust.envelope import Envelope, verify

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0


def hear_now(home: SiteHome, models: Models, *, at: float) -> tuple[PublishedModel, ...]:
    """Ask the coordinator for its models; those that it has revoked since this site heard of them last.

    Raises
    ------
    HomeError
        The site has not joined.
    UnreachableError
        The coordinator does not answer.
    TrustError
        It does not accept this site, or the list is not its own.
    """
    membership, channel = home.membership(), ConsentChannel(home)
    try:
        with channel.calling(membership) as stub:
            return hear(stub, models, membership, at=at)
    finally:
        channel.close()


def keep_up(stub: ConsentStub, models: Models, membership: Membership, *, told_sha256: str) -> None:
    """Hear of the models if the coordinator has another list than this site. Raises as `hear`."""
    if told_sha256 in {"", models.published().digest}:  # empty: an older coordinator has none
        return
    for one in hear(stub, models, membership, at=time.time()):
        log.error("the model %s was revoked: %s", one.model_id, one.reason)


def hear(
    stub: ConsentStub, models: Models, membership: Membership, *, at: float
) -> tuple[PublishedModel, ...]:
    """As `hear_now`, on a connection that is open. Raises `grpc.RpcError` as well."""
    reply = stub.Published(consent_pb2.PublishedRequest(), timeout=CALL_TIMEOUT_S)
    payload = verify(Envelope.from_bytes(reply.envelope), PUBLISHED_TYPE, membership.anchors.signing_key)
    return models.hear(PublishedModels.from_bytes(payload), actor=membership.site_id, at=at)


def require_not_revoked(models: Models, manifest_sha256: str) -> None:
    """Return only if a model may be used still, as far as this site has heard.

    Raises
    ------
    ModelRevokedError
        It was revoked.
    """
    known = models.by_manifest(manifest_sha256)
    if known is not None and known.state is ModelState.REVOKED:
        raise revoked(known)


def require_supplements(models: Models, package: VerifiedPackage) -> None:
    """Return only if a model lies beside all that the coordinator has signed of it, as far as was heard.

    Without its limits a model would measure images that it should refuse.

    Raises
    ------
    NotFoundError
        One is missing.
    """
    known = models.by_manifest(package.manifest_sha256)
    missing = () if known is None else sorted(known.supplements.keys() - package.supplements.keys())
    if missing:
        raise NotFoundError(
            f"The model's file '{missing[0].file}' is missing beside it.",
            "Run `mammofed-site model pull`, or download the model at the coordinator again.",
        )


def revoked(model: PublishedModel) -> ModelRevokedError:
    """What a person learns who would use a revoked model."""
    return ModelRevokedError(
        f"The model {model.model_id} was revoked by the coordinator: {model.reason or 'no reason given'}.",
        "Use another one: `mammofed-site model pull` takes the newest, `model rollback` the one before.",
    )
