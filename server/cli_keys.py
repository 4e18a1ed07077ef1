"""`mammofed-coordinator keys`: the keys that the federation believes this coordinator by."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from server.passphrases import PassphraseOption, read_passphrase
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.trust.anchors import Anchors

keys_app = typer.Typer(help="Root, signing key and certificate of the coordinator.", no_args_is_help=True)


@keys_app.command("show")
def keys_show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show what the hospitals believe this coordinator by, and who still depends on an older root.

    `mammofed-site keys show` prints the same fingerprints, to be compared by telephone.
    """
    from server.authority import depending_on_older_root
    from server.coordinator import Coordinator
    from shared.trust.certificates import expires_at, fingerprint

    opened, now = CoordinatorHome(home), time.time()
    coordinator = Coordinator.open(opened)
    anchors, sites = coordinator.anchors, coordinator.federation.active()
    is_changing = len(anchors.roots_pem) > 1
    waiting = [site.name for site in depending_on_older_root(anchors, sites, now=now)] if is_changing else []
    issuer_ends_at = _issuer_ends_at(opened) if opened.keys.issuer_certificate.exists() else None
    values = {
        "version": anchors.version,
        "roots": [fingerprint(root_pem) for root_pem in anchors.roots_pem],
        "root_ends_at": expires_at(anchors.root_pem),
        "signing_key": anchors.signing_key.key_id,
        "retired_signing_keys": [one.key.key_id for one in anchors.retired_keys],
        "issuer_ends_at": issuer_ends_at,
        "server_certificate_ends_at": expires_at(opened.tls_chain_file.read_bytes()),
        "depending_on_older_root": waiting,
    }
    lines = [
        f"Version {anchors.version}",
        f"Root certificate, until {_day(expires_at(anchors.root_pem))}:\n  {fingerprint(anchors.root_pem)}",
        *(f"Older root, still believed:\n  {fingerprint(older)}" for older in anchors.roots_pem[1:]),
        f"Signing key: {anchors.signing_key.key_id}",
        *(
            f"Signing key until {_day(one.retired_at)}: {one.key.key_id}"
            for one in reversed(anchors.retired_keys)
        ),
        f"The listeners' certificate ends {_day(expires_at(opened.tls_chain_file.read_bytes()))}.",
    ]
    if issuer_ends_at is not None:
        lines.append(f"The root's key is offline; the issuer in its place ends {_day(issuer_ends_at)}.")
    if is_changing:
        lines.append(
            f"Depending on the older root: {', '.join(waiting)}."
            if waiting
            else "No site depends on the older root any more: `keys retire-root` ends it."
        )
    Output(as_json).result(values, "\n".join(lines))


@keys_app.command("rotate-signing")
def keys_rotate_signing(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Sign announcements and models with a new key; stop the coordinator first.

    The old key signs for the new one, and is erased. Hospitals learn the new key by themselves at their next
    contact, and from then on refuse announcements by the old one; models that it signed stay good. A run that
    was going goes on after `serve`.
    """
    from server.authority import rotate_signing_key

    coordinator, actor = open_for(home, Action.KEYS_ROTATE)
    anchors = rotate_signing_key(CoordinatorHome(home), coordinator.audit, now=time.time(), actor=actor)
    Output(as_json).result(
        {"version": anchors.version, "signing_key": anchors.signing_key.key_id},
        f"The coordinator signs with the key {anchors.signing_key.key_id} from now on.\n"
        "Next: `mammofed-coordinator serve`.",
    )


@keys_app.command("take-root-offline")
def keys_take_root_offline(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file for the root's key.")],
    passphrase_file: PassphraseOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Move the root's key into a file, sealed, to be kept elsewhere; stop the coordinator first.

    An issuer that the root has certified signs the certificates of sites and listeners from then on;
    hospitals notice nothing. The file and its passphrase, of 12 characters or more, are needed again within
    three years, by `keys renew-issuer`, and to rotate the root.
    """
    from server.offline_root import take_root_offline

    coordinator, actor = open_for(home, Action.KEYS_ROTATE)
    opened = CoordinatorHome(home)
    passphrase = read_passphrase(passphrase_file, is_new=True)
    take_root_offline(opened, coordinator.audit, file, passphrase, now=time.time(), actor=actor)
    ends_at = _issuer_ends_at(opened)
    Output(as_json).result(
        {"issuer_ends_at": ends_at},
        "The root's key is in that file alone: move it to where no network is, twice, and remove it here.\n"
        f"The issuer in its place ends {_day(ends_at)}. Next: `mammofed-coordinator serve`.",
    )


@keys_app.command("renew-issuer")
def keys_renew_issuer(
    root_file: Annotated[Path, typer.Option("--root-key", help="File with the root's key.")],
    passphrase_file: PassphraseOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Make a new issuer in place of the one that signs while the root is offline; stop the coordinator first.

    Before it ends, as `keys show` says, or when its key may have been stolen.
    """
    from server.offline_root import read_root_key, renew_issuer

    coordinator, actor = open_for(home, Action.KEYS_ROTATE)
    opened = CoordinatorHome(home)
    root_key = read_root_key(root_file, read_passphrase(passphrase_file, is_new=False))
    renew_issuer(opened, coordinator.audit, root_key, now=time.time(), actor=actor)
    ends_at = _issuer_ends_at(opened)
    Output(as_json).result(
        {"issuer_ends_at": ends_at},
        f"The new issuer ends {_day(ends_at)}. Take the root's key away again.\n"
        "Next: `mammofed-coordinator serve`.",
    )


@keys_app.command("rotate-root")
def keys_rotate_root(
    root_file: Annotated[
        Path | None, typer.Option("--root-key", help="File with the old root's key, if that is offline.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Issue certificates under a new root; stop the coordinator first, and finish by `keys retire-root`.

    The old root signs for the new one, and its key is erased. Hospitals believe both while each fetches a
    certificate under the new root by itself, within minutes of its next contact. Invitations that were not
    used carry the old root's fingerprint: withdraw them, and invite anew.
    """
    from server.authority import rotate_root
    from server.offline_root import read_root_key

    now = time.time()
    coordinator, actor = open_for(home, Action.KEYS_ROTATE)
    opened = CoordinatorHome(home)
    root_key = read_root_key(root_file, read_passphrase(passphrase_file, is_new=False)) if root_file else None
    anchors = rotate_root(opened, coordinator.audit, now=now, actor=actor, root_key=root_key)
    invited = coordinator.federation.invited(now=now)
    text = _root_text(
        anchors, "Next: `mammofed-coordinator serve`; then `keys show` until nobody needs the old one."
    )
    if invited:
        text += (
            f"\nTheir invitations do not work any more, withdraw them and invite anew: {', '.join(invited)}."
        )
    Output(as_json).result({**_root_values(anchors), "to_invite_anew": invited}, text)


@keys_app.command("retire-root")
def keys_retire_root(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Believe the older root no more, once no hospital depends on it; stop the coordinator first.

    A hospital that has been away since the change keeps this waiting until its certificate ends or it is
    revoked.
    """
    from server.authority import retire_root

    coordinator, actor = open_for(home, Action.KEYS_ROTATE)
    sites = coordinator.federation.active()
    anchors = retire_root(CoordinatorHome(home), coordinator.audit, sites, now=time.time(), actor=actor)
    text = _root_text(anchors, "No older one is believed any more. Next: `mammofed-coordinator serve`.")
    Output(as_json).result(_root_values(anchors), text)


def _root_values(anchors: Anchors) -> dict[str, int | str]:
    from shared.trust.certificates import fingerprint

    return {"version": anchors.version, "root_fingerprint": fingerprint(anchors.root_pem)}


def _root_text(anchors: Anchors, then: str) -> str:
    return f"Fingerprint of the root certificate:\n  {_root_values(anchors)['root_fingerprint']}\n{then}"


def _issuer_ends_at(home: CoordinatorHome) -> float:
    from shared.trust.certificates import expires_at

    return expires_at(home.keys.issuer_certificate.read_bytes())


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
