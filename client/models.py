"""Bringing published models to this site: heard of, fetched, verified, tried, and only then in use."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from client.home import SiteHome
from client.published import hear_now, require_not_revoked, require_supplements, revoked
from client.standing import learn, revoked_error
from client.store.models import Models
from client.store.opening import open_site_store
from client.using import load_model
from shared.errors import NotFoundError, TrustError
from shared.files import hold_folder, make_private_folder, sync_folder, write_file
from shared.package import MANIFEST, SIGNATURE, VerifiedPackage, verify_manifest, verify_package
from shared.published import ModelState, PublishedModel
from shared.supplements import SupplementKind
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient, Progress
from shared.transfer.rpc import open_channel
from shared.trust.keys import TlsKey
from shared.trust.tls import mutual_channel_credentials

ARRIVING = ".arriving"
KEPT = 3
"""Models whose files stay: the one in use, and those that a rollback can go back to."""


def open_models(home: SiteHome) -> Models:
    """The register of a home. Raises as `open_site_store`."""
    return Models(open_site_store(home.folder))


def pull(home: SiteHome, model_id: str | None, *, actor: str, progress: Progress) -> VerifiedPackage:
    """Fetch a released model, verify and try it, and take it into use.

    1. hear of the coordinator's keys and models; 2. choose; 3. fetch, the manifest first, and verify;
    4. load it, which shows that this version can use it; 5. take it into use.

    Parameters
    ----------
    model_id
        None is the newest that is released.

    Raises
    ------
    NotFoundError
        There is no such model, or none is released.
    ModelRevokedError
        It was revoked.
    TrustError, TamperedError
        It is not released, or what came is not what the coordinator has signed.
    WeightsError, PlanError
        This version cannot use it.
    UnreachableError, TransferError, StoreError
        The coordinator or the disk refuses; what has arrived is kept for another try.
    """
    # 1.
    if not learn(home):
        raise revoked_error()
    models = open_models(home)
    hear_now(home, models, at=time.time())
    # 2.
    chosen = _choose(models, model_id)
    # 3.
    with _alone(home):
        folder = home.models / chosen.model_id
        if not folder.exists():
            _fetch(home, chosen, folder, progress)
        elif missing := [kind for kind in chosen.supplements if not (folder / kind.file).exists()]:
            _fetch_supplements(home, chosen, missing, folder)
        package = _verified(home, folder)
        if package.manifest_sha256 != chosen.manifest.digest:
            raise TrustError(
                "The model's folder holds another model than the coordinator names.",
                f"Remove the folder models/{chosen.model_id} in the home folder, and pull again.",
            )
        # 4.
        load_model(home, folder)
        # 5.
        installed = models.installed()
        if not installed or installed[-1].model_id != chosen.model_id:
            models.install(chosen.model_id, package.manifest_sha256, actor=actor, at=time.time())
            _forget_older(home, models)
    return package


def roll_back(home: SiteHome, *, actor: str) -> VerifiedPackage:
    """Take the model before the one in use, which holds still, into use again; verified as at first.

    Raises
    ------
    NotFoundError
        There is none.
    """
    models = open_models(home)
    with _alone(home):
        for before in reversed(models.installed()[:-1]):
            known = models.find(before.model_id)
            if known is None or known.state is not ModelState.RELEASED:
                continue
            with contextlib.suppress(NotFoundError, TrustError):
                package = _verified(home, home.models / before.model_id)
                models.go_back(before, package.manifest_sha256, actor=actor, at=time.time())
                return package
    raise NotFoundError(
        "There is no model before the one in use that holds still.",
        "`mammofed-site model pull` takes the newest that is released.",
    )


def in_use(home: SiteHome) -> Path:
    """Folder of the model that is in use.

    Raises
    ------
    NotFoundError
        There is none.
    """
    installed = open_models(home).installed()
    if not installed:
        raise NotFoundError(
            "This site has no model in use.", "Run `mammofed-site model pull`, or name a folder with --model."
        )
    return home.models / installed[-1].model_id


def pulled(home: SiteHome, model_id: str | None) -> VerifiedPackage:
    """A model that was pulled, verified with its supplements; None is the one in use.

    Raises
    ------
    NotFoundError
        It is not here, or not whole.
    TrustError, TamperedError
        See `verify_package`.
    """
    folder = in_use(home) if model_id is None else home.models / model_id
    if model_id is not None and open_models(home).find(model_id) is None:
        raise NotFoundError(f"There is no model '{model_id}'.", "`mammofed-site model list` shows all.")
    package = _verified(home, folder)
    require_supplements(open_models(home), package)
    return package


def require_released(models: Models, package: VerifiedPackage) -> None:
    """Return only if a model may be used in the clinic, as far as this site has heard.

    Raises
    ------
    ModelRevokedError
        It was revoked.
    TrustError
        It was not released.
    """
    require_not_revoked(models, package.manifest_sha256)
    known = models.by_manifest(package.manifest_sha256)
    if known is None or known.state is not ModelState.RELEASED:
        raise TrustError(
            "The model is not released for use in the clinic.",
            "Ask the coordinator for its release, then run `mammofed-site model pull`.",
        )


def _choose(models: Models, model_id: str | None) -> PublishedModel:
    if model_id is None:
        released = [one for one in models.published().models if one.state is ModelState.RELEASED]
        if not released:
            raise NotFoundError(
                "The coordinator has released no model.", "Ask it for a release: two persons must agree."
            )
        return released[-1]
    chosen = models.find(model_id)
    if chosen is None:
        raise NotFoundError(f"There is no model '{model_id}'.", "`mammofed-site model list` shows all.")
    if chosen.state is ModelState.REVOKED:
        raise revoked(chosen)
    if chosen.state is not ModelState.RELEASED:
        raise TrustError(
            f"The model {model_id} is a candidate: it is not released.",
            "Ask the coordinator for its release.",
        )
    return chosen


def _fetch(home: SiteHome, model: PublishedModel, folder: Path, progress: Progress) -> None:
    """Bring a model's files into a folder that appears whole; what is small, and can be verified, first."""
    store = BlobStore(home.models / ARRIVING)
    anchors = home.membership().anchors
    small = {
        MANIFEST: model.manifest,
        SIGNATURE: model.signature,
        **{kind.file: blob for kind, blob in model.supplements.items()},
    }
    with _connected(home) as client:
        for blob in small.values():
            client.fetch(blob, store)
        manifest = verify_manifest(
            store.path(model.manifest.digest).read_bytes(),
            store.path(model.signature.digest).read_bytes(),
            anchors.signing_key,
            anchors.retired_keys,
        )
        files = {
            file.name: BlobRef(digest=file.sha256, size_bytes=file.size_bytes) for file in manifest.files
        }
        for blob in files.values():
            client.fetch(blob, store, progress=progress)
    draft = home.models / f".{model.model_id}"
    shutil.rmtree(draft, ignore_errors=True)
    make_private_folder(draft)
    for name, blob in {**files, **small}.items():
        shutil.copyfile(store.path(blob.digest), draft / name)
    draft.rename(folder)
    sync_folder(home.models)
    shutil.rmtree(home.models / ARRIVING)


def _fetch_supplements(
    home: SiteHome, model: PublishedModel, kinds: Sequence[SupplementKind], folder: Path
) -> None:
    """Bring what was signed since into the folder of a model that is here."""
    store = BlobStore(home.models / ARRIVING)
    with _connected(home) as client:
        for kind in kinds:
            blob = model.supplements[kind]
            client.fetch(blob, store)
            write_file(folder / kind.file, store.path(blob.digest).read_bytes())
    shutil.rmtree(home.models / ARRIVING)


@contextlib.contextmanager
def _connected(home: SiteHome) -> Iterator[BlobClient]:
    membership = home.membership()
    credentials = mutual_channel_credentials(
        root_pem=membership.anchors.bundle_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.keys(membership.key_generation).tls),
    )
    with open_channel(membership.transfer_address, credentials, home.proxy()) as channel:
        yield BlobClient(channel)


def _forget_older(home: SiteHome, models: Models) -> None:
    """Delete the folders of models that were in use before the last `KEPT`: they can be pulled again."""
    kept = {one.model_id for one in models.installed()[-KEPT:]}
    for folder in home.models.iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)


def _verified(home: SiteHome, folder: Path) -> VerifiedPackage:
    anchors = home.membership().anchors
    return verify_package(folder, anchors.signing_key, anchors.retired_keys)


@contextlib.contextmanager
def _alone(home: SiteHome) -> Iterator[None]:
    make_private_folder(home.models)
    with hold_folder(home.models, "Another command changes this site's models.", "Wait until it is done."):
        yield
