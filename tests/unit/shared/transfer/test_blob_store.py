"""The blob store: nothing but whole and verified blobs, whatever interrupts or competes."""

import fcntl
import hashlib
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import NotFoundError, StoreError, TamperedError, TransferError
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from tests.full_disk import disk_that_holds

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs-of-this-test"


@pytest.fixture
def store(folder):
    return BlobStore(folder)


def leftovers(folder):
    return sorted(path.name for path in (folder / "partial").iterdir())


def test_a_blob_is_named_by_the_sha256_of_its_bytes(store, folder):
    ref = store.put_bytes(b"abc")

    # FIPS 180-4, example "abc".
    assert ref.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert ref == BlobRef.of(b"abc")
    assert (ref.size_bytes, store.size(ref.digest)) == (3, 3)
    assert store.path(ref.digest).read_bytes() == b"abc"
    assert stat.S_IMODE(store.path(ref.digest).stat().st_mode) == 0o600
    assert leftovers(folder) == []


def test_a_draft_becomes_the_same_private_blob_as_its_bytes(store, folder):
    with store.draft() as draft:
        draft.write_bytes(CONTENT * 50)
        ref = store.put_draft(draft)

    assert ref == store.put_bytes(CONTENT * 50)
    assert store.path(ref.digest).read_bytes() == CONTENT * 50
    assert stat.S_IMODE(store.path(ref.digest).stat().st_mode) == 0o600
    assert store.digests() == [ref.digest]
    assert leftovers(folder) == []


def test_a_draft_that_is_not_kept_leaves_nothing(store, folder):
    with store.draft() as draft:
        draft.write_bytes(CONTENT)

    assert store.digests() == []
    assert leftovers(folder) == []


def test_the_listing_is_sorted_and_holds_no_unfinished_blob(store):
    refs = [store.put_bytes(bytes([value])) for value in range(20)]
    with store.try_partial(BlobRef.of(CONTENT)) as partial:
        partial.append(CONTENT[:10])

    assert store.digests() == sorted(ref.digest for ref in refs)


def test_a_missing_blob_is_not_found_and_removing_it_twice_does_nothing(store):
    ref = store.put_bytes(CONTENT)
    store.remove(ref.digest)
    store.remove(ref.digest)

    assert not store.has(ref.digest)
    for ask in (store.open, store.path, store.size):
        with pytest.raises(NotFoundError):
            ask(ref.digest)
    with pytest.raises(StoreError):
        store.put_draft(Path("/nowhere/at/all"))


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "\uff10" * 64]
)
def test_path_traversal_by_digest_is_refused(digest, store):
    for ask in (store.has, store.open, store.path, store.remove, store.partial_bytes):
        with pytest.raises(TransferError):
            ask(digest)
    with pytest.raises(TransferError):
        BlobRef(digest=digest, size_bytes=1)


def test_a_negative_size_is_refused():
    with pytest.raises(TransferError):
        BlobRef(digest="0" * 64, size_bytes=-1)


def test_an_unfinished_blob_goes_on_where_it_stopped(store, folder):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as partial:
        partial.append(CONTENT[:1000])

    assert store.partial_bytes(ref.digest) == 1000
    assert not store.has(ref.digest)
    with store.try_partial(ref) as partial:
        assert partial.have_bytes == 1000
        partial.append(CONTENT[1000:])
        partial.finish()

    assert store.path(ref.digest).read_bytes() == CONTENT
    assert leftovers(folder) == []


def test_a_flipped_byte_never_becomes_a_blob_and_the_store_stays_as_it_was(store):
    other = store.put_bytes(b"other")
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as partial:
        partial.append(b"\xff" + CONTENT[1:])
        with pytest.raises(TamperedError):
            partial.finish()
        assert partial.have_bytes == 0

        partial.append(CONTENT)
        partial.finish()

    assert store.digests() == sorted([other.digest, ref.digest])
    assert store.path(ref.digest).read_bytes() == CONTENT


def test_a_short_or_overlong_blob_is_refused(store):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as partial:
        partial.append(CONTENT[:-1])
        with pytest.raises(TamperedError):
            partial.finish()
        partial.append(CONTENT[:-1])
        with pytest.raises(TamperedError):
            partial.append(b"xx")
        assert partial.have_bytes == 0
    assert store.digests() == []


def test_bytes_damaged_on_the_disk_while_unfinished_are_found_at_the_end(store, folder):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as partial:
        partial.append(CONTENT[:1000])
    (unfinished,) = (folder / "partial").iterdir()
    unfinished.write_bytes(bytes(1000))

    with store.try_partial(ref) as partial:
        partial.append(CONTENT[1000:])
        with pytest.raises(TamperedError):
            partial.finish()


def test_cutting_back_keeps_the_digest_right(store):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as partial:
        partial.append(CONTENT[:2000])
        partial.truncate(500)
        assert partial.have_bytes == 500
        partial.append(CONTENT[500:])
        partial.finish()

    store.verify(ref)


def test_an_empty_blob_is_a_blob(store):
    ref = BlobRef.of(b"")
    with store.try_partial(ref) as partial:
        partial.finish()

    assert store.put_bytes(b"") == ref
    assert store.size(ref.digest) == 0


def test_one_writer_at_a_time_and_one_owners_bytes_apart_from_anothers(store):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref, "rogue") as rogue:
        rogue.append(bytes(10))
        assert store.try_partial(ref, "rogue") is None
        with store.try_partial(ref, "honest") as honest:
            assert honest.have_bytes == 0
            honest.append(CONTENT)
            honest.finish()
    assert store.partial_bytes(ref.digest, "rogue") == 10
    store.verify(ref)


def test_a_writer_that_was_overtaken_cannot_touch_the_finished_blob(store):
    ref = BlobRef.of(CONTENT)
    with store.try_partial(ref) as first:
        first.append(CONTENT)
        first.finish()
        with store.try_partial(ref) as second:
            assert second.have_bytes == 0
            second.append(bytes(10))

    store.verify(ref)


def test_a_writer_that_waited_between_open_and_lock_does_not_get_the_finished_blob(store, monkeypatch):
    ref = BlobRef.of(CONTENT)
    first, lock = store.try_partial(ref), fcntl.flock

    def lock_after_the_first_has_finished(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", lock)
        with first:
            first.append(CONTENT)
            first.finish()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_after_the_first_has_finished)
    with store.try_partial(ref) as second:
        assert second.have_bytes == 0
        second.append(bytes(10))

    store.verify(ref)


def test_a_killed_writer_frees_its_lock_and_leaves_its_bytes(store, folder):
    ref = BlobRef.of(CONTENT)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from shared.transfer.blob_ref import BlobRef\n"
        "from shared.transfer.blob_store import BlobStore\n"
        "content = bytes(range(256)) * 100\n"
        "partial = BlobStore(Path(sys.argv[1])).try_partial(BlobRef.of(content))\n"
        "partial.append(content[:512])\n"
        "print('holding', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    ) as writer:
        try:
            assert writer.stdout.readline() == b"holding\n"
            assert store.try_partial(ref) is None
        finally:
            writer.kill()

    with store.try_partial(ref) as partial:
        assert partial.have_bytes == 512


def test_processes_that_put_the_same_blob_at_once_agree(store, folder):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from shared.transfer.blob_store import BlobStore\n"
        "store = BlobStore(Path(sys.argv[1]))\n"
        "for _ in range(30): store.put_bytes(bytes(range(256)) * 100)\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    writers = [subprocess.Popen(command, cwd=Path(__file__).parents[4]) for _ in range(2)]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    store.verify(BlobRef.of(CONTENT))
    assert leftovers(folder) == []


def test_damage_on_the_disk_is_found_by_verify(store):
    ref = store.put_bytes(CONTENT)
    store.verify(ref)
    path = store.path(ref.digest)
    path.write_bytes(CONTENT[:-1] + b"\x00")

    with pytest.raises(TamperedError):
        store.verify(ref)
    with pytest.raises(TamperedError):
        store.verify(BlobRef(digest=ref.digest, size_bytes=ref.size_bytes + 1))


def test_a_full_disk_is_said_so_and_leaves_no_half_blob(store, folder):
    with disk_that_holds(10_000):
        with pytest.raises(StoreError, match="full"):
            store.put_bytes(CONTENT)
        with store.try_partial(BlobRef.of(CONTENT)) as partial, pytest.raises(StoreError, match="full"):
            partial.append(CONTENT)

    assert store.digests() == []
    assert leftovers(folder) == [f"{hashlib.sha256(CONTENT).hexdigest()}.self"]


def test_only_abandoned_unfinished_blobs_are_discarded(store, folder):
    useless, held, wanted = (BlobRef.of(bytes([value])) for value in range(3))
    for ref in (useless, wanted):
        with store.try_partial(ref):
            pass
    with store.try_partial(held):
        store.discard_unfinished(may_resume={wanted.digest}.__contains__)

    assert leftovers(folder) == sorted(f"{ref.digest}.self" for ref in (held, wanted))


def test_what_a_killed_process_was_writing_is_discarded_and_what_a_living_one_writes_is_not(store, folder):
    script = f"""
import os, pathlib, signal
from shared.transfer.blob_store import BlobStore
with BlobStore(pathlib.Path({str(folder)!r})).draft() as draft:
    draft.write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(leftovers(folder)) == 1

    with store.draft() as draft:
        draft.write_bytes(CONTENT)
        store.discard_unfinished(may_resume=lambda _digest: True)
        assert leftovers(folder) == [draft.name]
        ref = store.put_draft(draft)

    assert store.path(ref.digest).read_bytes() == CONTENT
    assert leftovers(folder) == []
