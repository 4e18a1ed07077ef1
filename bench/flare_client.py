"""NVIDIA FLARE's side that would train: every value moves. Runs in FLARE's own environment."""

import sys
import time
from pathlib import Path

import nvflare.client as flare


def main() -> None:
    """Answer every model with another; the folder for times is the one argument."""
    folder = Path(sys.argv[1])
    flare.init()
    site = flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        began = time.time()
        with (folder / f"received-{site}").open("a") as file:
            file.write(f"{began}\n")
        params = {name: array + float(site[-1]) for name, array in model.params.items()}
        with (folder / f"computed-{site}").open("a") as file:
            file.write(f"{time.time() - began}\n")
        flare.send(flare.FLModel(params=params, metrics={"accuracy": 0.0}))


if __name__ == "__main__":
    main()
