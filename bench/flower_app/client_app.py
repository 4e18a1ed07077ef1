"""Stock Flower's side that would train: every value moves, so that nothing is known from the round before.

No two arrays are the same, in a round or at two nodes: Flower does not send again what is there already.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer with other arrays; how long making them took goes into a file."""
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    arrays = record.to_numpy_ndarrays()
    began = time.monotonic()
    step = np.float32(np.random.default_rng(context.node_id).uniform(0.5, 1.5))
    changed = [array + step for array in arrays]
    computed_s = time.monotonic() - began
    with (Path(str(context.run_config["folder"])) / f"computed-{context.node_id}").open("a") as file:
        file.write(f"{computed_s}\n")
    content = RecordDict({"arrays": ArrayRecord(changed), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)
