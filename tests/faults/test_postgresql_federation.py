"""A coordinator with its state in PostgreSQL goes through a run in which it is restarted."""

from __future__ import annotations

import pytest

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.store.opening import DATABASE_FILE
from tests.e2e.small_federation import build, running, shared_hospitals
from tests.faults.reckoning import Witness
from tests.postgresql import Postgresql

ROUNDS = 2
SITES = 2
SOME_SECONDS = {"local_epochs": 8, "learning_rate": 0.005}
TIMEOUT_S = 180.0


@pytest.mark.long
def test_a_run_over_postgresql_outlasts_a_restart_of_the_coordinator_and_its_model_is_published(
    postgresql: Postgresql, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hospitals = shared_hospitals(request.config, tmp_path_factory)[:SITES]
    folder = tmp_path_factory.mktemp("postgresql")
    with postgresql.new_database() as address:
        file = folder / "database"
        file.write_text(address.get_secret_value())
        file.chmod(0o600)
        federation = build(folder / "federation", hospitals, options=("--database-file", str(file)))
        with (
            running(federation),
            Witness(federation=federation, folder=folder / "sent").watching() as witness,
        ):
            plan = federation.write_plan("restarted", rounds=ROUNDS, timeout_s=TIMEOUT_S, **SOME_SECONDS)
            run_id = federation.launch(plan)
            federation.wait_for_step(hospitals[0].name, run_id, round_number=2)

            federation.coordinator.stop()
            federation.coordinator.start()
            shown = federation.finish(run_id)

            assert [part["state"] for one in shown["rounds"] for part in one["parts"]] == (
                ["admitted"] * SITES * ROUNDS
            )
            (model,) = federation.coordinator.ask("model", "list")
            output = folder / "model"
            downloaded = federation.coordinator.ask(
                "model", "download", model["model_id"], "--output", str(output)
            )
            assert downloaded["verified"]
            assert federation.coordinator.ask("audit", "verify")["holds"]
            witness.reckon(run_id, rounds=ROUNDS)
            home = CoordinatorHome(federation.coordinator.home)
            assert not (home.folder / DATABASE_FILE).exists()
            assert Coordinator.open(home).runs.get(run_id).finished_at is not None
