"""Published models, the files each consists of, and whether they may be used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, RowMapping, Select, insert, select, update

from server.lifecycle import require_transition
from server.store.audit import append
from server.store.schema import metadata, model, model_file
from shared.audit.event import Event
from shared.audit.events import (
    ModelPublished,
    ModelReleaseAsked,
    ModelReleased,
    ModelRevoked,
    ModelSupplemented,
)
from shared.audit.log import take_write_lock
from shared.errors import AggregationError, NotFoundError, TrustError
from shared.package import MANIFEST, SIGNATURE
from shared.persons.person import PersonState
from shared.published import MODEL_TRANSITIONS, ModelState, PublishedModel, PublishedModels
from shared.store import transaction
from shared.supplements import SupplementKind
from shared.transfer.blob_ref import BlobRef

PERSON = "person:"
"""How a named person's name begins in the audit log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a published model, by name and content."""

    name: str
    blob: BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A published global model.

    Attributes
    ----------
    release_asked_by
        Who has said that it may be released, as the audit log names them; a second person makes it so.
    released_at, revoked_at
        Seconds since the Unix epoch; None if it was not.
    revoked_because
        A person's words.
    """

    model_id: str
    run_id: str
    manifest_sha256: str
    created_at: float
    release_asked_by: str | None = None
    released_at: float | None = None
    revoked_at: float | None = None
    revoked_because: str | None = None

    @property
    def state(self) -> ModelState:
        """What it may be used for."""
        if self.revoked_at is not None:
            return ModelState.REVOKED
        return ModelState.CANDIDATE if self.released_at is None else ModelState.RELEASED


class Release(StrEnum):
    """What a person's word for a release came to."""

    ASKED = "asked"
    RELEASED = "released"


def _to_model(row: RowMapping) -> Model:
    return Model(**row)


class Models:
    """The register of published models; their bytes are blobs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def publish(self, published: Model, files: Sequence[ModelFile]) -> None:
        """Register a model, a candidate, and its files in one transaction."""
        with transaction(self._engine) as connection:
            connection.execute(
                insert(model).values(
                    model_id=published.model_id,
                    run_id=published.run_id,
                    manifest_sha256=published.manifest_sha256,
                    created_at=published.created_at,
                )
            )
            for file in files:
                _add_file(connection, published.model_id, file)
            event = ModelPublished(
                subject=published.model_id,
                run_id=published.run_id,
                manifest_sha256=published.manifest_sha256,
            )
            append(connection, event, actor="coordinator", at=published.created_at)

    def supplement(self, supplemented: Model, files: Sequence[ModelFile], *, at: float) -> None:
        """Register what a model's evaluation has shown, in one transaction; what is there already stays."""
        named = select(model_file.c.name).where(model_file.c.model_id == supplemented.model_id)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            there = set(connection.execute(named).scalars())
            new = [file for file in files if file.name not in there]
            for file in new:
                _add_file(connection, supplemented.model_id, file)
            if new:
                event = ModelSupplemented(
                    subject=supplemented.model_id,
                    manifest_sha256=supplemented.manifest_sha256,
                    num_supplements=len(new),
                )
                append(connection, event, actor="coordinator", at=at)

    def release(self, model_id: str, *, needs: Collection[SupplementKind], actor: str, at: float) -> Release:
        """A named person says that a candidate may be used in the clinic; the second one makes it so.

        A first word of somebody who was disabled since counts for nothing.

        Parameters
        ----------
        needs
            Supplements without which none is released.

        Raises
        ------
        NotFoundError
            No model has this id.
        AggregationError
            Its state does not allow it, or a supplement is missing.
        TrustError
            Who acts is no named person, or the same one again.
        """
        if not actor.startswith(PERSON):
            raise TrustError(
                "A release needs two named persons.",
                "Add them by `mammofed-coordinator user add`; each then acts under a token of their own.",
            )
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            known = _get(connection, model_id)
            require_transition(MODEL_TRANSITIONS, known.state, ModelState.RELEASED)
            _require_supplements(connection, model_id, needs)
            first = known.release_asked_by
            if first == actor:
                raise TrustError(
                    "A release needs two persons: the same one has asked for it already.",
                    "Have another administrator call `model release`.",
                )
            if first is None or not _is_active(connection, first):
                _change(connection, model_id, release_asked_by=actor)
                append(connection, ModelReleaseAsked(subject=model_id), actor=actor, at=at)
                return Release.ASKED
            _change(connection, model_id, released_at=at)
            event: Event = ModelReleased(subject=model_id, first=first.removeprefix(PERSON))
            append(connection, event, actor=actor, at=at)
        return Release.RELEASED

    def revoke(self, model_id: str, *, reason: str, actor: str, at: float) -> Model:
        """End a model for good: one person is enough.

        Parameters
        ----------
        reason
            Plain words (`shared.consent.records.is_plain`), for the sites to read.

        Raises
        ------
        NotFoundError
            No model has this id.
        AggregationError
            It was revoked before.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            require_transition(MODEL_TRANSITIONS, _get(connection, model_id).state, ModelState.REVOKED)
            _change(connection, model_id, revoked_at=at, revoked_because=reason)
            append(connection, ModelRevoked(subject=model_id, reason=reason), actor=actor, at=at)
            return _get(connection, model_id)

    def all(self) -> list[Model]:
        """Every published model, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(model).order_by(model.c.created_at)).mappings().all()
        return [_to_model(row) for row in rows]

    def published(self) -> PublishedModels:
        """What the sites are told."""
        named = (MANIFEST, SIGNATURE, *(kind.file for kind in SupplementKind))
        blobs = select(model_file).where(model_file.c.name.in_(named)).order_by(model_file.c.model_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(select(model).order_by(model.c.created_at, model.c.model_id))
            models = [_to_model(row) for row in rows.mappings()]
            refs = {(row["model_id"], row["name"]): _ref(row) for row in connection.execute(blobs).mappings()}
        return PublishedModels(
            models=tuple(
                PublishedModel(
                    model_id=one.model_id,
                    state=one.state,
                    manifest=refs[one.model_id, MANIFEST],
                    signature=refs[one.model_id, SIGNATURE],
                    created_at=one.created_at,
                    reason=one.revoked_because or "",
                    supplements={
                        kind: refs[one.model_id, kind.file]
                        for kind in SupplementKind
                        if (one.model_id, kind.file) in refs
                    },
                )
                for one in models
                if (one.model_id, MANIFEST) in refs and (one.model_id, SIGNATURE) in refs
            )
        )

    def may_fetch(self, digest: str) -> bool:
        """Whether a blob is a file of a released model, which every member may have."""
        query = (
            select(model_file.c.digest)
            .join_from(model_file, model, model.c.model_id == model_file.c.model_id)
            .where(
                model_file.c.digest == digest, model.c.released_at.is_not(None), model.c.revoked_at.is_(None)
            )
        )
        with transaction(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def of_run(self, run_id: str) -> Model | None:
        """The model that a run published, if it did."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(model).where(model.c.run_id == run_id)).mappings().one_or_none()
        return _to_model(row) if row else None

    def get(self, model_id: str) -> Model:
        """A model by its id.

        Raises
        ------
        NotFoundError
            No model has this id.
        """
        with transaction(self._engine) as connection:
            return _get(connection, model_id)

    def digests(self) -> frozenset[str]:
        """Every blob that is a file of a published model."""
        with transaction(self._engine) as connection:
            return frozenset(connection.execute(select(model_file.c.digest)).scalars())

    def files(self, model_id: str) -> list[ModelFile]:
        """The files of a model, by name."""
        query = select(model_file).where(model_file.c.model_id == model_id).order_by(model_file.c.name)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [ModelFile(name=row["name"], blob=_ref(row)) for row in rows]


def _get(connection: Connection, model_id: str) -> Model:
    query: Select[tuple[object, ...]] = select(model).where(model.c.model_id == model_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(
            f"There is no model '{model_id}'.", "`mammofed-coordinator model list` shows all."
        )
    return _to_model(row)


def _add_file(connection: Connection, model_id: str, file: ModelFile) -> None:
    values = {"model_id": model_id, "name": file.name}
    blob = {"digest": file.blob.digest, "size_bytes": file.blob.size_bytes}
    connection.execute(insert(model_file).values(**values, **blob))


def _require_supplements(connection: Connection, model_id: str, needs: Collection[SupplementKind]) -> None:
    named = select(model_file.c.name).where(model_file.c.model_id == model_id)
    there = set(connection.execute(named).scalars())
    missing = [kind.value for kind in SupplementKind if kind in needs and kind.file not in there]
    if missing:
        raise AggregationError(
            f"A release needs what the model's evaluation shows, and lacks: {', '.join(missing)}.",
            "`run show` tells what became of the evaluation; `run resume` has one that failed done again. "
            "Where sites' policies withhold it, 'release_needs' of coordinator.toml can name fewer.",
        )


def _change(connection: Connection, model_id: str, **values: str | float) -> None:
    connection.execute(update(model).where(model.c.model_id == model_id).values(**values))


def _is_active(connection: Connection, actor: str) -> bool:
    person = metadata.tables["person"]
    of_name = person.c.name == actor.removeprefix(PERSON)
    state = connection.execute(select(person.c.state).where(of_name)).scalar_one_or_none()
    return state == PersonState.ACTIVE


def _ref(row: RowMapping) -> BlobRef:
    return BlobRef(digest=row["digest"], size_bytes=row["size_bytes"])
