"""How a site's training images look, all together: where a model is used, new images are compared with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from client.imaging.appearance import appearance_of
from client.imaging.example import Example
from shared.appearance import LEAST_AT_A_SITE, Appearance, describe
from shared.errors import NotFoundError, StoppedError

MOST = 2000
"""Images that are looked at; more would take long and change nothing."""


def look_at(
    example_ids: Sequence[str], load: Callable[[str], Example], should_stop: Callable[[], bool]
) -> Appearance | None:
    """The appearance of examples; of many, of some at equal distances, which stand for all.

    Returns
    -------
    Appearance or None
        None of fewer than may be told of.

    Raises
    ------
    StoppedError
        `should_stop` said so.
    """
    chosen = example_ids[:: -(-len(example_ids) // MOST) or 1]
    values = []
    for example_id in chosen:
        if should_stop():
            raise StoppedError("The evaluation was stopped.", "Start the site again to take part.")
        try:
            values.append(appearance_of(load(example_id).image_HW))
        except NotFoundError:  # removed since it was listed
            continue
    if len(values) < LEAST_AT_A_SITE:
        return None
    return describe(np.array(values), told=len(example_ids))
