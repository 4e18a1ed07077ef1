"""The ClientApp that is installed at the site: the only code of ours that Flower's messages reach."""

from __future__ import annotations

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.participation import Workplace, take_part
from shared.flower.wire import pack, unpack


def make_app(workplace: Workplace) -> ClientApp:
    """The app of one site."""
    app = ClientApp()

    @app.train()
    def answer(message: Message, _context: Context) -> Message:
        return Message(pack(take_part(unpack(message), workplace)), reply_to=message)

    return app
