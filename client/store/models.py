"""Published models as this site has heard of them, and which of them it has taken into use, in order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from client.store.audit import append
from client.store.schema import metadata
from shared.audit.events import ModelInstalled, ModelRevoked
from shared.audit.log import take_write_lock
from shared.errors import TrustError
from shared.published import MODEL_TRANSITIONS, ModelState, PublishedModel, PublishedModels
from shared.store import transaction
from shared.supplements import SupplementKind
from shared.transfer.blob_ref import BlobRef

known_model = Table(
    "known_model",
    metadata,
    Column("model_id", String(80), primary_key=True),
    Column("state", String(16), nullable=False, comment="moves forward alone"),
    Column("manifest_sha256", String(64), nullable=False, unique=True),
    Column("manifest_bytes", Integer, nullable=False),
    Column("signature_sha256", String(64), nullable=False),
    Column("signature_bytes", Integer, nullable=False),
    Column("created_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("reason", Text, nullable=False, comment="why it was revoked"),
    Column("supplements", Text, nullable=False, server_default="{}", comment="blobs by kind, JSON"),
    CheckConstraint("state IN ('candidate', 'released', 'revoked')", name="state_known"),
)

installed_model = Table(
    "installed_model",
    metadata,
    Column("number", Integer, primary_key=True, comment="the last that was not withdrawn is in use"),
    Column("model_id", String(80), nullable=False),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("withdrawn_at", Float, comment="when a person went back to the one before"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A model that was taken into use."""

    number: int
    model_id: str


class Models:
    """The register of one site."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def hear(self, told: PublishedModels, *, actor: str, at: float) -> tuple[PublishedModel, ...]:
        """Keep a list whose signature was verified; the models that it newly revokes.

        What an older list says of a model changes nothing: states move forward, supplements come.

        Raises
        ------
        TrustError
            A model or a supplement has another content than it had; nothing of the list is kept.
        """
        newly_revoked = []
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            for one in told.models:
                known = _find(connection, one.model_id)
                if known is not None:
                    _require_same(known, one)
                    _keep_supplements(connection, known, one)
                if known is not None and one.state not in MODEL_TRANSITIONS[known.state]:
                    continue
                if known is not None:
                    of_model = known_model.c.model_id == one.model_id
                    values = {"state": one.state.value, "reason": one.reason}
                    connection.execute(update(known_model).where(of_model).values(**values))
                else:
                    connection.execute(insert(known_model).values(**_row(one)))
                if one.state is ModelState.REVOKED:
                    newly_revoked.append(one)
                    event = ModelRevoked(subject=one.model_id, reason=one.reason or "no reason given")
                    append(connection, event, actor=actor, at=at)
        return tuple(newly_revoked)

    def published(self) -> PublishedModels:
        """Everything that was heard of, as the coordinator tells it."""
        query = select(known_model).order_by(known_model.c.created_at, known_model.c.model_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return PublishedModels(models=tuple(_to_model(row) for row in rows))

    def find(self, model_id: str) -> PublishedModel | None:
        """A model by its id; None if it was not heard of."""
        with transaction(self._engine) as connection:
            return _find(connection, model_id)

    def by_manifest(self, manifest_sha256: str) -> PublishedModel | None:
        """A model by its identity; None if it was not heard of."""
        query = select(known_model).where(known_model.c.manifest_sha256 == manifest_sha256)
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _to_model(row)

    def installed(self) -> tuple[Installed, ...]:
        """What was taken into use and not withdrawn, the one in use last."""
        query = (
            select(installed_model)
            .where(installed_model.c.withdrawn_at.is_(None))
            .order_by(installed_model.c.number)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Installed(number=row["number"], model_id=row["model_id"]) for row in rows)

    def install(self, model_id: str, manifest_sha256: str, *, actor: str, at: float) -> None:
        """Take a verified model into use."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            connection.execute(insert(installed_model).values(model_id=model_id, at=at))
            _note(connection, model_id, manifest_sha256, actor=actor, at=at)

    def go_back(self, to: Installed, manifest_sha256: str, *, actor: str, at: float) -> None:
        """Withdraw what was taken into use after this model, which was verified again."""
        later = (installed_model.c.number > to.number, installed_model.c.withdrawn_at.is_(None))
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            connection.execute(update(installed_model).where(*later).values(withdrawn_at=at))
            _note(connection, to.model_id, manifest_sha256, actor=actor, at=at)


def _note(connection: Connection, model_id: str, manifest_sha256: str, *, actor: str, at: float) -> None:
    append(connection, ModelInstalled(subject=model_id, manifest_sha256=manifest_sha256), actor=actor, at=at)


def _find(connection: Connection, model_id: str) -> PublishedModel | None:
    query = select(known_model).where(known_model.c.model_id == model_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _to_model(row)


def _require_same(known: PublishedModel, told: PublishedModel) -> None:
    both = known.supplements.keys() & told.supplements.keys()
    if (known.manifest, known.signature) != (told.manifest, told.signature) or any(
        known.supplements[kind] != told.supplements[kind] for kind in both
    ):
        raise TrustError(
            "A published model was told of again with another content.",
            "Tell the coordinator: a changed model is a model of its own.",
        )


def _keep_supplements(connection: Connection, known: PublishedModel, told: PublishedModel) -> None:
    if not told.supplements.keys() <= known.supplements.keys():
        of_model = known_model.c.model_id == known.model_id
        values = {"supplements": _to_text({**known.supplements, **told.supplements})}
        connection.execute(update(known_model).where(of_model).values(**values))


def _to_text(supplements: Mapping[SupplementKind, BlobRef]) -> str:
    return json.dumps(
        {kind.value: [supplements[kind].digest, supplements[kind].size_bytes] for kind in sorted(supplements)}
    )


def _row(model: PublishedModel) -> dict[str, object]:
    return {
        "model_id": model.model_id,
        "state": model.state.value,
        "manifest_sha256": model.manifest.digest,
        "manifest_bytes": model.manifest.size_bytes,
        "signature_sha256": model.signature.digest,
        "signature_bytes": model.signature.size_bytes,
        "created_at": model.created_at,
        "reason": model.reason,
        "supplements": _to_text(model.supplements),
    }


def _to_model(row: RowMapping) -> PublishedModel:
    return PublishedModel(
        model_id=row["model_id"],
        state=ModelState(row["state"]),
        manifest=BlobRef(digest=row["manifest_sha256"], size_bytes=row["manifest_bytes"]),
        signature=BlobRef(digest=row["signature_sha256"], size_bytes=row["signature_bytes"]),
        created_at=row["created_at"],
        reason=row["reason"],
        supplements={
            SupplementKind(kind): BlobRef(digest=digest, size_bytes=size_bytes)
            for kind, (digest, size_bytes) in json.loads(row["supplements"]).items()
        },
    )
