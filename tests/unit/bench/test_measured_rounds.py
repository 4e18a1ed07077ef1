"""Times of rounds from the marks that the programs under measurement leave."""

from pathlib import Path

from bench.measured_rounds import read_computed, read_stamps, rounds_of


def test_overhead_is_the_median_round_without_the_computing_of_its_slowest_site(tmp_path: Path) -> None:
    (tmp_path / "stamps").write_text("10.0\n12.0\n17.0\n20.0\n")
    (tmp_path / "computed-a").write_text("0.5\n1.0\n2.5\n9.0\n")
    (tmp_path / "computed-b").write_text("1.5\n0.5\n1.0\n9.0\n")

    found = rounds_of(
        "program",
        model_bytes=8,
        stamps=read_stamps(tmp_path),
        computed=read_computed(tmp_path, num_rounds=3),
        wire_bytes=100,
        peak_bytes={"b": 2, "a": 1},
    )

    # Rounds of 2, 5 and 3 s, of which the slowest site computed 1.5, 1.0 and 2.5 s.
    assert (found.num_rounds, found.round_s, found.overhead_s) == (3, 3.0, 0.5)
    assert found.wire_bytes == 33
    assert list(found.peak_bytes) == ["a", "b"]


def test_a_program_that_has_begun_no_round_has_left_no_marks(tmp_path: Path) -> None:
    assert read_stamps(tmp_path) == []
