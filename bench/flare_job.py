"""One FedAvg job of NVIDIA FLARE in POC mode. Runs in FLARE's own environment."""

import argparse
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.poc_env import PocEnv


def main() -> None:
    """Start server and clients, carry out the rounds, and stop all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="where times are written to")
    parser.add_argument("--values", type=int, required=True, help="float32 values of the model")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--sites", type=int, required=True)
    options = parser.parse_args()
    start = options.folder / "start.npy"
    np.save(start, np.random.default_rng(1).random(options.values, np.float32))
    recipe = NumpyFedAvgRecipe(
        name="rounds",
        initial_ckpt=str(start),
        min_clients=options.sites,
        num_rounds=options.rounds,
        train_script=str(Path(__file__).with_name("flare_client.py")),
        train_args=str(options.folder),
    )
    environment = PocEnv(num_clients=options.sites)
    try:
        run = recipe.execute(environment)
        run.get_result(clean_up=False)
    finally:
        environment.stop(clean_up=True)


if __name__ == "__main__":
    main()
