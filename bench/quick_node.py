"""Flower's SuperNode as it is, but with the short pauses of this product: `python -m bench.quick_node`."""

from __future__ import annotations

from flwr.supernode.cli import flower_supernode

from client.flower.supernode import hasten

if __name__ == "__main__":
    hasten()
    flower_supernode()
