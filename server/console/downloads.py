"""A model's files over HTTP: one by one, also in parts, or all in one archive; no file is ever in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence

from starlette.responses import FileResponse, Response, StreamingResponse

from server.store import ModelFile
from shared.errors import NotFoundError
from shared.transfer.blob_store import BlobStore

CHUNK_BYTES = 1 << 20


def file_response(blobs: BlobStore, files: Sequence[ModelFile], name: str) -> Response:
    """One file, whole or the ranges that are asked for (RFC 9110, 14): 200, 206 or 416.

    A file never changes, so that its digest is its entity tag: `If-Range` goes on with the same bytes.

    Raises
    ------
    NotFoundError
        The model has no such file.
    """
    found = next((file for file in files if file.name == name), None)
    if found is None:
        raise NotFoundError("The model has no such file.", "Its page names all of them.")
    return FileResponse(
        blobs.path(found.blob.digest),
        filename=found.name,
        media_type="application/octet-stream",
        headers={"etag": f'"{found.blob.digest}"'},
    )


def archive_response(blobs: BlobStore, files: Sequence[ModelFile], model_id: str) -> Response:
    """All files as one zip, packed while it is sent."""
    return StreamingResponse(
        _packed(blobs, files, model_id),
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{model_id}.zip"'},
    )


def _packed(blobs: BlobStore, files: Sequence[ModelFile], folder: str) -> Iterator[bytes]:
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w") as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"{folder}/{file.name}")
            large = file.blob.size_bytes >= zipfile.ZIP64_LIMIT // 2
            with (
                blobs.open(file.blob.digest) as source,
                archive.open(entry, "w", force_zip64=large) as target,
            ):
                while content := source.read(CHUNK_BYTES):
                    target.write(content)
                    yield outgoing.take()
    yield outgoing.take()


class _Outgoing(io.RawIOBase):
    """What the archive has written since it was last taken; it cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._content += data
        return len(data)

    def take(self) -> bytes:
        """Everything that waits."""
        content = bytes(self._content)
        self._content.clear()
        return content
