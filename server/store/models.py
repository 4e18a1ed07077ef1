"""Published models and the files each consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, RowMapping, insert, select

from server.store.audit import append
from server.store.schema import model, model_file
from shared.audit.events import ModelPublished
from shared.errors import NotFoundError
from shared.store import transaction
from shared.transfer.blob_ref import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a published model, by name and content."""

    name: str
    blob: BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A published global model."""

    model_id: str
    run_id: str
    manifest_sha256: str
    created_at: float


def _to_model(row: RowMapping) -> Model:
    return Model(**row)


class Models:
    """The register of published models; their bytes are blobs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def publish(self, published: Model, files: Sequence[ModelFile]) -> None:
        """Register a model and its files in one transaction."""
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
                connection.execute(
                    insert(model_file).values(
                        model_id=published.model_id,
                        name=file.name,
                        digest=file.blob.digest,
                        size_bytes=file.blob.size_bytes,
                    )
                )
            event = ModelPublished(
                subject=published.model_id,
                run_id=published.run_id,
                manifest_sha256=published.manifest_sha256,
            )
            append(connection, event, actor="coordinator", at=published.created_at)

    def all(self) -> list[Model]:
        """Every published model, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(model).order_by(model.c.created_at)).mappings().all()
        return [_to_model(row) for row in rows]

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
            row = (
                connection.execute(select(model).where(model.c.model_id == model_id)).mappings().one_or_none()
            )
        if row is None:
            raise NotFoundError(
                f"There is no model '{model_id}'.", "`mammofed-coordinator model list` shows all."
            )
        return _to_model(row)

    def digests(self) -> frozenset[str]:
        """Every blob that is a file of a published model."""
        with transaction(self._engine) as connection:
            return frozenset(connection.execute(select(model_file.c.digest)).scalars())

    def files(self, model_id: str) -> list[ModelFile]:
        """The files of a model, by name."""
        query = select(model_file).where(model_file.c.model_id == model_id).order_by(model_file.c.name)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            ModelFile(name=row["name"], blob=BlobRef(digest=row["digest"], size_bytes=row["size_bytes"]))
            for row in rows
        ]
