"""What the pictures and masks of a site measure: every example is read once."""

from __future__ import annotations

from collections.abc import Callable

from client.catalog import Catalog, Part
from client.imaging.density import measure_density
from client.reporting.histogram import Histogram, histogram

PERCENT_EDGES = tuple(float(edge) for edge in range(0, 101, 5))


def measure(catalog: Catalog, progress: Callable[[int, int], None]) -> tuple[Histogram, ...]:
    """Histograms of the masks' density and breast area, and of the images' size and spacing in their files.

    Raises
    ------
    StoreError
        An example is missing or damaged.
    """
    labelled = [each for part in Part for each in catalog.examples(part)]
    ids = [*labelled, *catalog.unlabelled()]
    percents: list[float | None] = []
    areas_cm2: list[float | None] = []
    sizes_mp: list[float | None] = []
    spacings_mm: list[float | None] = []
    for done, example_id in enumerate(ids, start=1):
        geometry, spacing = catalog.geometry(example_id), catalog.spacing(example_id)
        rows, columns = geometry.source_shape
        sizes_mp.append(rows * columns / 1e6)
        # Of the file: the prepared picture's is larger by as much as the picture was shrunk.
        shrunk = geometry.prepared_shape[0] / geometry.box[2]
        spacings_mm.append(None if spacing is None else spacing.row_mm * shrunk)
        if done <= len(labelled):
            labels_HW = catalog.load(example_id).labels_HW
            density = None if labels_HW is None else measure_density(labels_HW, spacing)
            area_mm2 = None if density is None else density.breast_area_mm2
            percents.append(None if density is None else density.percent_density)
            areas_cm2.append(None if area_mm2 is None else area_mm2 / 100)
        progress(done, len(ids))
    return (
        histogram("Percent density of masks", "%", percents, PERCENT_EDGES),
        histogram("Breast area of masks", "cm²", areas_cm2),
        histogram("Image size", "megapixels", sizes_mp),
        histogram("Pixel spacing", "mm", spacings_mm),
    )
