"""What a site keeps of earlier rounds when it begins with the next one."""

from __future__ import annotations

from pathlib import Path

import grpc

from client.downloads import Downloads
from shared.records import Announcement, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient

PLAN, BASE, BEFORE = BlobRef.of(b"plan"), BlobRef.of(b"weights"), BlobRef.of(b"weights before")
ANNOUNCEMENT = Announcement(
    occasion=Occasion(
        run_id="run-1",
        plan_sha256=PLAN.digest,
        round_number=2,
        attempt=1,
        phase=Phase.TRAIN,
        site_id="site-a",
        base_digest=BASE.digest,
    ),
    plan=PLAN,
    base=BASE,
    terms=None,
    counted=None,
    rejected=None,
    metrics=(),
    deadline=1.0,
    checkpoint="{}",
    delta=None,
)


def test_what_earlier_rounds_left_goes_and_what_this_one_has_begun_to_fetch_stays(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    for ref in (BASE, BEFORE):
        with blobs.try_partial(ref) as partial:  # type: ignore[union-attr]
            partial.append(b"weights")
    (tmp_path / "partial" / "draft.of-a-killed-process").write_bytes(b"half an update")
    blobs.put_bytes(b"plan")
    blobs.put_bytes(b"update of the round before")

    Downloads(
        announcement=ANNOUNCEMENT,
        blobs=blobs,
        transfer=BlobClient(grpc.insecure_channel("127.0.0.1:1")),
        should_stop=lambda: False,
    ).forget_other_rounds()

    assert blobs.digests() == [PLAN.digest]
    assert [path.name for path in (tmp_path / "partial").iterdir()] == [f"{BASE.digest}.self"]
