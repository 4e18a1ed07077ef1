"""`mammofed-site keys`: the keys that this hospital proves itself by."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time

import typer

from client.acting import open_for
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.persons.roles import Action
from shared.terminal import Output

keys_app = typer.Typer(help="Keys and certificate of this site.", no_args_is_help=True)


@keys_app.command("show")
def keys_show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show this site's keys, its certificate, and what it believes the coordinator by.

    `mammofed-coordinator keys show` prints the same fingerprints of the coordinator, to be compared by
    telephone.
    """
    from shared.trust.certificates import expires_at, fingerprint
    from shared.trust.keys import SigningKey

    opened = SiteHome(home)
    membership = opened.membership()
    anchors, ends_at = membership.anchors, expires_at(membership.certificate_pem)
    own_key = SigningKey.load(opened.signing_key_file).verify_key
    values = {
        "site_id": membership.site_id,
        "signing_key": own_key.key_id,
        "signing_key_hex": own_key.raw.hex(),
        "key_generation": membership.key_generation,
        "certificate_ends_at": ends_at,
        "coordinator_version": anchors.version,
        "coordinator_roots": [fingerprint(root_pem) for root_pem in anchors.roots_pem],
        "coordinator_signing_key": anchors.signing_key.key_id,
    }
    lines = [
        f"'{membership.site_name}' ({membership.site_id})",
        f"Signing key: {own_key.key_id}, in full for other hospitals' `privacy.known_keys`:",
        f"  {own_key.raw.hex()}",
        f"Certificate, until {time.strftime('%Y-%m-%d %H:%M', time.localtime(ends_at))}",
        f"'{membership.coordinator_name}', version {anchors.version} of its keys",
        *(f"Root certificate:\n  {fingerprint(root_pem)}" for root_pem in anchors.roots_pem),
        f"Signing key: {anchors.signing_key.key_id}",
    ]
    Output(as_json).result(values, "\n".join(lines))


@keys_app.command("rotate")
def keys_rotate(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Exchange all keys of this site for new ones; the site id stays.

    For regular rotation, and when a person who could read the keys has left. The running site goes on with
    the new keys by itself, in the middle of a run too. If somebody else may hold the keys, ask the
    coordinator for `site revoke` instead and join anew: who holds the keys can rotate them as well.
    """
    from client.renewal import rotate_keys

    site = SiteHome(home)
    site.membership()
    _, actor = open_for(home, Action.KEYS_ROTATE)
    membership = rotate_keys(site, actor=actor)
    Output(as_json).result(
        {"site_id": membership.site_id, "key_generation": membership.key_generation},
        f"The keys of '{membership.site_name}' ({membership.site_id}) are new; the old ones are erased once "
        "the coordinator has accepted the new ones.",
    )
