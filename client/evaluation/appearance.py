"""How a site's training images look, all together: where a model is used, new images are compared with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from client.evaluation.steadiness import images_to_tell_of
from client.imaging.appearance import appearance_of
from client.imaging.example import Example
from client.store.evaluations import Evaluations
from client.store.parts import Part
from shared.appearance import LEAST_AT_A_SITE, Appearance, describe
from shared.errors import NotFoundError, StoppedError

log = logging.getLogger(__name__)


def look_at(
    example_ids: Sequence[str],
    load: Callable[[str], Example],
    kept: Evaluations,
    *,
    smallest: int,
    should_stop: Callable[[], bool],
) -> Appearance | None:
    """The appearance of the training part; over which images it may be told is kept, told or not.

    Parameters
    ----------
    example_ids
        Of the training part.
    smallest
        Number of images that may be told of.

    Returns
    -------
    Appearance or None
        None if they are too few, or differ in too few from those that were told of before.

    Raises
    ------
    StoppedError
        `should_stop` said so.
    """
    least = max(smallest, LEAST_AT_A_SITE)
    told = images_to_tell_of(frozenset(example_ids), kept.told(Part.TRAIN), smallest=least)
    if told is None:
        log.info("the training part has too few images to tell how they look, or too few others than before")
        return None
    values = []
    for example_id in sorted(told):
        if should_stop():
            raise StoppedError("The evaluation was stopped.", "Start the site again to take part.")
        try:
            values.append(appearance_of(load(example_id).image_HW))
        except NotFoundError:  # removed since it was listed: one image less is not told of
            return None
    kept.keep_told(Part.TRAIN, told)
    return describe(np.array(values), told=len(values))
