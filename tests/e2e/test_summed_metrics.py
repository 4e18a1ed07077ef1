"""A run between running processes that lets metrics out in aggregate only."""

from __future__ import annotations

import pytest

from tests.e2e.small_federation import VENDORS, SmallFederation


@pytest.mark.slow
def test_a_run_in_aggregate_ends_in_a_model_whose_figures_are_of_all_hospitals_and_of_none_alone(
    federation: SmallFederation,
) -> None:
    plan = federation.write_plan("summed", rounds=2, timeout_s=120, is_masked=True, in_aggregate=True)

    shown = federation.finish(federation.launch(plan))

    assert shown["state"] == "finished"
    for one in shown["rounds"]:
        assert {part["site"]: part["state"] for part in one["parts"]} == dict.fromkeys(VENDORS, "admitted")
        assert {(part["train_loss"], part["evaluation"]) for part in one["parts"]} == {(None, None)}
        assert one["train_loss"] > 0
        assert 0 <= one["incoming"]["measures"]["dice_breast"]["value"] <= 1
    assert {part["evaluation"] for part in shown["test"]} == {None}
    assert shown["test_of_all"]["measures"]["dice_breast"]["num_images"] > len(VENDORS)
    model = federation.coordinator.ask("model", "show", shown["model_id"])
    assert model["supplements"].keys() == {"cross_site", "calibration", "limits", "privacy"}
    assert model["untold"].keys() == {"fairness"}
    assert model["release_lacks"] == []
    for role in federation.sites.values():
        left = role.ask("ledger", "--run", shown["run_id"])
        told = [line for line in left if line["rule"] == "statistics-under-a-mask"]
        assert [line["phase"] for line in told] == ["train", "train", "evaluate"]
        names = {name for line in left for name in line["names"]}
        assert "masked_metrics" in names
        assert not [name for name in names if name.startswith(("evaluation", "train_loss", "appearance"))]
