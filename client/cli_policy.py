"""`mammofed-site policy`: what the hospital lets happen here."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output

policy_app = typer.Typer(help="What this hospital lets happen here.", no_args_is_help=True)


@policy_app.command("show")
def policy_show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show what is allowed now, in plain words; rules that `policy.toml` does not change are marked.

    If a line of `policy.toml` is wrong, nothing is allowed: that line is told, with what it may be.
    """
    from client.policy.reading import read_policy
    from client.policy.wording import policy_in_words

    rules = policy_in_words(read_policy(SiteHome(home).policy_file))
    rows = [
        {"rule": each.name, "allowed": each.words, "from": "default" if each.is_default else "policy.toml"}
        for each in rules
    ]
    Output(as_json).table("Policy", rows, empty="")


@policy_app.command("check")
def policy_check(
    file: Annotated[Path, typer.Argument(help="A policy that is to become this site's `policy.toml`.")],
    as_json: JsonOption = False,
) -> None:
    """Check a policy before it is put in place: the first wrong line is told, with what it may be."""
    from client.policy.reading import read_policy
    from client.policy.wording import policy_in_words
    from shared.errors import NotFoundError

    if not file.exists():
        raise NotFoundError("There is no such file.", "Name the policy that is to be checked.")
    changed = [each for each in policy_in_words(read_policy(file)) if not each.is_default]
    Output(as_json).result(
        {"usable": True, "rules": {each.name: each.words for each in changed}},
        "\n".join(
            ["The policy is usable. Other than by default:", *(f"  {e.name}: {e.words}" for e in changed)]
            if changed
            else ["The policy is usable, and every rule is the default."]
        ),
    )
