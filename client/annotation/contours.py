"""From a mask to polygons: marching squares on whole pixels, and polygons with holes cut open.

Coordinates are (x, y) in pixels with the origin at the outer corner of the first pixel, so the centre of the
first pixel is (0.5, 0.5), as LabelMe draws. A vertex lies just inside the pixel whose edge it marks: both a
rasteriser that asks for pixel centres and one that cuts coordinates down to whole pixels give the mask back.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from client.imaging.breast_mask import Mask

MAX_ERROR_PX = 0.5
OUTWARD_PX = 0.45
"""From a pixel's centre to the vertex at its edge; at 0.5 the vertex would be the neighbour's as well."""

# Steps of (row, column) along a pixel's edges, clockwise as seen: above, right of, below and left of it.
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
# From the corner where an edge begins to the row and column of the pixel that it bounds, and to the vertex.
_PIXELS = np.array([(0, 0), (0, -1), (-1, -1), (-1, 0)])
_NORMALS = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])

Polygon = npt.NDArray[np.float64]


def polygons_of(mask_HW: Mask, max_error_px: float = MAX_ERROR_PX) -> list[Polygon]:
    """One closed polygon, N x 2 of (x, y), for each connected region; holes are cut open to the outside.

    Parameters
    ----------
    max_error_px
        How far a vertex that is left out may lie from the polygon.
    """
    regions_HW, count = ndimage.label(mask_HW)
    outers: list[Polygon | None] = [None] * (count + 1)
    holes: list[list[Polygon]] = [[] for _ in range(count + 1)]
    for loop, (row, column) in _loops(mask_HW):
        region = int(regions_HW[row, column])
        simple = simplify(loop, max_error_px)
        if _signed_area(loop) > 0:
            outers[region] = simple
        else:
            holes[region].append(simple)
    return [_cut_open(outer, inner) for outer, inner in zip(outers, holes, strict=True) if outer is not None]


def simplify(loop: Polygon, max_error_px: float) -> Polygon:
    """A closed polygon with fewer vertices (Douglas and Peucker 1973); one that would collapse stays."""
    far = int(np.argmax(((loop - loop[0]) ** 2).sum(axis=1)))
    keep = np.zeros(len(loop) + 1, bool)
    keep[[0, far, -1]] = True
    closed = np.concatenate([loop, loop[:1]])
    spans = [(0, far), (far, len(loop))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(np.argmax(distances))
        if distances[worst] > max_error_px:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    simple = loop[keep[:-1]]
    return simple if len(simple) > 2 else loop


def _distances(points: Polygon, start: Polygon, end: Polygon) -> npt.NDArray[np.float64]:
    """Distance of each point from a line segment."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    distances: npt.NDArray[np.float64] = np.hypot(*(points - start - share[:, None] * along).T)
    return distances


def _loops(mask_HW: Mask) -> list[tuple[Polygon, tuple[int, int]]]:
    """All outlines of a mask with a pixel of each: clockwise as seen, holes the other way round."""
    padded_HW = np.pad(mask_HW, 1)
    height, width = padded_HW.shape
    # An edge is known by its direction and the corner it begins at, in one number.
    inside = np.stack([padded_HW & ~np.roll(padded_HW, tuple(-normal), (0, 1)) for normal in _NORMALS])
    begins = np.zeros((4, height + 1, width + 1), bool)
    for direction, (row, column) in enumerate(-_PIXELS):
        begins[direction, row : row + height, column : column + width] = inside[direction]
    directions, rows, columns = np.nonzero(begins)
    ids = np.ravel_multi_index((directions, rows, columns), begins.shape)
    ends = np.stack([rows, columns], axis=1) + _STEPS[directions]
    # Turning right first keeps regions that touch at a corner apart.
    following = (directions - 1) % 4
    for turn in (0, 1):
        turned = (directions + turn) % 4
        following = np.where(begins[turned, ends[:, 0], ends[:, 1]], turned, following)
    successors = np.searchsorted(ids, np.ravel_multi_index((following, ends[:, 0], ends[:, 1]), begins.shape))
    pixels = np.stack([rows, columns], axis=1) + _PIXELS[directions] - 1
    vertices = (pixels + 0.5 + OUTWARD_PX * _NORMALS[directions])[:, ::-1]
    loops = []
    next_edge = successors.tolist()
    seen = [False] * len(next_edge)
    for first in range(len(next_edge)):
        chain = []
        edge = first
        while not seen[edge]:
            seen[edge] = True
            chain.append(edge)
            edge = next_edge[edge]
        if chain:
            row, column = pixels[first].tolist()
            loops.append((vertices[chain], (row, column)))
    return loops


def _signed_area(loop: Polygon) -> float:
    """Positive for clockwise as seen, that is with y downwards."""
    x, y = loop.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _cut_open(outer: Polygon, holes: list[Polygon]) -> Polygon:
    """Join each hole to the outline by a cut without width, where the two are closest."""
    joined = outer
    for hole in sorted(holes, key=lambda each: float(each[:, 0].max()), reverse=True):
        distances, nearest = KDTree(joined).query(hole)
        start = int(np.argmin(distances))
        at = int(nearest[start])
        around = np.roll(hole, -start, axis=0)
        joined = np.concatenate([joined[: at + 1], around, around[:1], joined[at:]])
    return joined
