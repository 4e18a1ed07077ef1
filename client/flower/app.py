"""The ClientApp that is installed at the site: the only code of ours that Flower's messages reach."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.participation import refuse, take_part
from client.workplace import Workplace
from shared.errors import BundleError
from shared.flower.wire import pack, unpack
from shared.trust.envelope import Envelope


def make_app(workplace: Workplace, learn: Callable[[], None] = lambda: None) -> ClientApp:
    """The app of one site.

    Parameters
    ----------
    learn
        Called before an announcement that the known key has not signed is judged: brings the workplace up to
        what the coordinator is to be believed by now.
    """
    app = ClientApp()

    @app.train()
    def answer(message: Message, _context: Context) -> Message:
        envelope = unpack(message)
        if Envelope.from_bytes(envelope).key_id != workplace.membership.anchors.signing_key.key_id:
            learn()
        return Message(pack(take_part(envelope, workplace)), reply_to=message)

    return app


def make_refusing_app(workplace: Workplace) -> ClientApp:
    """The app that answers in place of the site's own where a bundle is not approved."""
    app = ClientApp()

    @app.train()
    def answer(message: Message, _context: Context) -> Message:
        error = BundleError(
            "A bundle is not on this site's list.",
            "If it belongs to a new version of mammofed, install that and approve its bundle.",
        )
        return Message(pack(refuse(unpack(message), workplace, error)), reply_to=message)

    return app
