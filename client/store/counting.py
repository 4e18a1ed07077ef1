"""What may be counted about all examples."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from client.holdings import Counts
from client.imaging.example import Drawn
from client.store import examples as statements
from client.store.parts import Part


def count(connection: Connection) -> Counts:
    """Count the examples."""
    patients = statements.count_patients(connection)
    by_part = statements.count_examples(connection, "part", labelled=True)
    categories = statements.count_categories(connection)
    named = {
        column: _named(statements.count_examples(connection, column))
        for column in ("view", "manufacturer", "laterality", "year", "density")
    }
    return Counts(
        examples=sum(named["view"].values()),
        labelled=sum(by_part.values()),
        patients=sum(patients.values()),
        by_part={part: by_part.get(part.value, 0) for part in Part},
        categories_by_part={part: categories.get(part.value, 0) for part in Part},
        patients_by_part=patients,
        by_manufacturer=named["manufacturer"],
        by_view=named["view"],
        by_laterality=named["laterality"],
        by_year=named["year"],
        by_density=named["density"],
        by_mask={Drawn.named(drawn): number for drawn, number in statements.count_masks(connection).items()},
    )


def _named(counts: Mapping[str | None, int]) -> dict[str, int]:
    return {
        "unknown" if name is None else str(name): number
        for name, number in sorted(counts.items(), key=lambda item: (item[0] is None, item[0]))
    }
