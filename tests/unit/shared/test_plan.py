"""The plan: strict on reading, one canonical form, one identity."""

from __future__ import annotations

import itertools
import tomllib

import pytest
from pydantic import ValidationError

from shared.errors import PlanError
from shared.plan import PatientNoisePlan, Plan, PrivacyPlan

SHORTEST = 'name = "density"\n[rounds]\ncount = 3\n'

CANONICAL = """\
version = 1
name = "density"
seed = 0
metrics = [
    "train_loss",
    "loss",
    "dice",
    "hausdorff",
    "percent_density",
    "density_categories",
    "calibration",
    "appearance",
]

[rounds]
count = 3
quorum = 2
timeout_s = 3600.0
late_updates = "use"

[model]
network = "mtl_unet"
encoder = "plain"
size = "base"
loss = "dice_ce"
task_weighting = "uncertainty"
input_height_px = 1024
input_width_px = 512

[training]
local_epochs = 1
batch_size = 4
learning_rate = 0.001
weight_decay = 0.01
warmup_fraction = 0.05
augment = true
flip = false
deterministic = false

[aggregation]
strategy = "fedavg"
bits = 16
compression = "zstd"
proximal_mu = 0.01
server_learning_rate = 0.01
momentum = 0.9
second_momentum = 0.99
adaptivity = 0.001
hostile_sites = 1

[personalisation]
layers = "none"
epochs = 10
learning_rate = 0.001

[privacy]
secure_aggregation = "auto"
colluding_sites = 0
"""
"""What every coordinator and site must make of the shortest plan. Changing it changes all identities."""

CANONICAL_SHA256 = "2d2549f342988c99de03be2e77c4b8465e315b5997a34146623dc64a727099a5"


def with_setting(name: str, value: str) -> str:
    """The shortest plan with one more setting, or with another value of one that it has."""
    settings = {"name": '"density"', "rounds.count": "3", name: value}
    tables = ("", "rounds", "model", "training", "aggregation", "personalisation", "privacy")
    lines = {table: [f"[{table}]"] if table else [] for table in tables}
    for setting, written in settings.items():
        table, _, key = setting.rpartition(".")
        lines[table].append(f"{key} = {written}")
    return "\n".join(itertools.chain.from_iterable(lines.values()))


def test_the_canonical_form_names_every_setting_in_a_fixed_order() -> None:
    assert Plan.from_toml(SHORTEST).to_toml() == CANONICAL


def test_the_identity_of_a_plan_is_pinned() -> None:
    assert Plan.from_toml(SHORTEST).sha256 == CANONICAL_SHA256


def test_a_plan_read_from_its_canonical_form_is_the_same_plan() -> None:
    plan = Plan.from_toml(SHORTEST)

    assert Plan.from_toml(plan.to_toml()) == plan
    assert Plan.from_toml(plan.to_toml()).sha256 == plan.sha256


def test_layout_comments_and_written_defaults_do_not_change_the_identity() -> None:
    text = '# ours\nrounds = { timeout_s = 3600, count = 3 }\nseed = 0\nname = "density"\n'

    assert Plan.from_toml(text).sha256 == CANONICAL_SHA256


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", '"other"'),
        ("seed", "1"),
        ("metrics", '["loss"]'),
        ("parent", f'"{"a" * 64}"'),
        ("initial_weights", f'"{"a" * 64}"'),
        ("rounds.count", "4"),
        ("rounds.quorum", "3"),
        ("rounds.timeout_s", "60.5"),
        ("rounds.late_updates", '"refuse"'),
        ("model.network", '"unet"'),
        ("model.encoder", '"resnet18"'),
        ("model.size", '"tiny"'),
        ("model.loss", '"focal_tversky"'),
        ("model.task_weighting", '"equal"'),
        ("model.density_band", '"readers"'),
        ("model.width", "0.5"),
        ("model.input_height_px", "512"),
        ("model.input_width_px", "256"),
        ("model.pixel_mm", "0.5"),
        ("training.local_epochs", "2"),
        ("training.batch_size", "8"),
        ("training.learning_rate", "0.01"),
        ("training.weight_decay", "0"),
        ("training.warmup_fraction", "0.1"),
        ("training.augment", "false"),
        ("training.flip", "true"),
        ("aggregation.strategy", '"scaffold"'),
        ("aggregation.bits", "8"),
        ("aggregation.compression", '"none"'),
        ("aggregation.max_update_norm", "2.5"),
        ("aggregation.proximal_mu", "0.1"),
        ("aggregation.server_learning_rate", "0.1"),
        ("aggregation.momentum", "0.5"),
        ("aggregation.second_momentum", "0.9"),
        ("aggregation.adaptivity", "0.01"),
        ("aggregation.hostile_sites", "2"),
        ("personalisation.layers", '"norms"'),
        ("personalisation.epochs", "3"),
        ("personalisation.learning_rate", "0.01"),
        ("privacy.secure_aggregation", '"on"'),
        ("privacy.secure_aggregation", '"off"'),
        ("privacy.colluding_sites", "1"),
        ("privacy.neighbours", "8"),
    ],
)
def test_every_setting_is_part_of_the_identity(name: str, value: str) -> None:
    assert Plan.from_toml(with_setting(name, value)).sha256 != CANONICAL_SHA256


@pytest.mark.parametrize("noise", ["multiplier = 1", "multiplier = 2", "multiplier = 1\ndelta = 1e-6"])
def test_noise_is_part_of_the_identity(noise: str) -> None:
    quiet = Plan.from_toml(f"metrics = []\n{SHORTEST}")
    one = Plan.from_toml(f"metrics = []\n{SHORTEST}[privacy.patient_noise]\n{noise}\n")

    other = one.privacy.model_copy(update={"patient_noise": PatientNoisePlan(multiplier=3)})
    assert len({quiet.sha256, one.sha256, one.model_copy(update={"privacy": other}).sha256}) == 3
    assert Plan.from_toml(one.to_toml()) == one


@pytest.mark.parametrize("setting", ['neighbours = "8"', "neighbours = 7", "neighbours = 2"])
def test_privacy_beyond_what_there_is_is_refused(setting: str) -> None:
    name, _, value = setting.partition(" = ")
    with pytest.raises(PlanError):
        Plan.from_toml(with_setting(f"privacy.{name}", value))


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ("multiplier = 0.05", "multiplier"),
        ("gradient_norm = 2", "multiplier"),
        ("multiplier = 1\ngradient_norm = 0", "gradient_norm"),
        ("multiplier = 1\ndelta = 0.01", "delta"),
        ("multiplier = 1\nepsilon = 3", "epsilon"),
    ],
)
def test_noise_that_hides_nobody_is_refused(noise: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Plan.from_toml(f"metrics = []\n{SHORTEST}[privacy.patient_noise]\n{noise}\n")


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ('metrics = ["dice"]', "set 'metrics' to"),
        ("metrics = []\ntraining.deterministic = true", "never the same twice"),
    ],
)
def test_what_would_tell_of_patients_beside_the_noise_is_refused(beside: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Plan.from_toml(f"{beside}\n{SHORTEST}[privacy.patient_noise]\nmultiplier = 1\n")


@pytest.mark.parametrize("pixel_mm", ["0.19", "5.1", "nan", '"1"'])
def test_a_scale_beyond_its_range_is_refused(pixel_mm: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_toml(with_setting("model.pixel_mm", pixel_mm))


@pytest.mark.parametrize("norm", ["0", "-1", "inf", "nan", '"1"'])
def test_a_norm_beyond_its_range_is_refused(norm: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_toml(with_setting("aggregation.max_update_norm", norm))


@pytest.mark.parametrize("source", ["true", '"reader"', '""'])
def test_categories_come_from_readers_or_from_a_simulation(source: str) -> None:
    with pytest.raises(PlanError, match="density_band"):
        Plan.from_toml(with_setting("model.density_band", source))


@pytest.mark.parametrize("width", ["0", "8.1", "nan", '"1"'])
def test_a_width_beyond_its_range_is_refused(width: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_toml(with_setting("model.width", width))


def test_an_encoder_for_a_network_that_has_its_own_is_refused() -> None:
    with pytest.raises(PlanError, match="unet has no 'encoder' to choose"):
        Plan.from_toml('name = "a"\nrounds.count = 3\nmodel = { network = "unet", encoder = "resnet18" }')


def test_flips_without_augmentation_are_refused_for_nothing_would_be_flipped() -> None:
    with pytest.raises(PlanError, match=r"training\.augment"):
        Plan.from_toml(f"{SHORTEST}[training]\nflip = true\naugment = false\n")


def test_every_setting_is_in_the_lists_of_legal_and_illegal_values() -> None:
    document = tomllib.loads(CANONICAL)
    settings = {
        f"{table}.{key}"
        for table, content in document.items()
        if isinstance(content, dict)
        for key in content
    } | {key for key, content in document.items() if not isinstance(content, dict)}

    assert settings == set(LEGAL) == set(ILLEGAL)


LEGAL = {
    "version": ["1"],
    "name": ['"a"', '"0"', '"density-2"', f'"{"a" * 63}"'],
    "seed": ["0", "4294967295"],
    "metrics": ["[]", '["loss"]', '["dice", "loss"]'],
    "rounds.count": ["1", "10000"],
    "rounds.quorum": ["2", "10000"],
    "rounds.timeout_s": ["5", "604800", "5.5"],
    "rounds.late_updates": ['"use"', '"refuse"'],
    "model.network": [f'"{name}"' for name in ("unet", "mtl_unet", "mild_unet", "dyn_unet")],
    "model.encoder": ['"plain"', '"resnet18"', '"resnet50"', '"efficientnet-b0"'],
    "model.loss": ['"dice_ce"', '"focal_tversky"'],
    "model.task_weighting": ['"uncertainty"', '"equal"'],
    "model.size": ['"tiny"', '"base"'],
    "model.input_height_px": ["64", "4096"],
    "model.input_width_px": ["64", "4096"],
    "training.local_epochs": ["1", "100"],
    "training.batch_size": ["1", "256"],
    "training.learning_rate": ["1e-9", "1"],
    "training.weight_decay": ["0", "1.0"],
    "training.warmup_fraction": ["0", "0.5"],
    "training.augment": ["true", "false"],
    "training.flip": ["true", "false"],
    "training.deterministic": ["true", "false"],
    "aggregation.strategy": [
        f'"{name}"' for name in ("fedavg", "fedprox", "fedadam", "fedyogi", "fedbn", "scaffold")
    ],
    "aggregation.bits": ["8", "16"],
    "aggregation.compression": ['"zstd"', '"none"'],
    "aggregation.proximal_mu": ["1e-9", "10"],
    "aggregation.server_learning_rate": ["1e-9", "10"],
    "aggregation.momentum": ["0", "0.999"],
    "aggregation.second_momentum": ["0", "0.999"],
    "aggregation.adaptivity": ["1e-9", "1"],
    "aggregation.hostile_sites": ["1", "1000"],
    "personalisation.layers": ['"none"', '"norms"', '"dense_decoder"'],
    "personalisation.epochs": ["1", "1000"],
    "personalisation.learning_rate": ["1e-9", "1"],
    "privacy.secure_aggregation": ['"auto"', '"on"', '"off"'],
    "privacy.colluding_sites": ["0", "1000"],
}
ILLEGAL = {
    "version": ["0", "2", '"1"'],
    "name": ['""', '"-a"', '"Density"', '"a b"', '"a\\n"', '"../a"', f'"{"a" * 64}"', "1"],
    "seed": ["-1", "4294967296", "0.0", '"0"', "true"],
    "metrics": ['["accuracy"]', '["loss", "loss"]', '"loss"', "[1]"],
    "rounds.count": ["0", "-1", "10001", "3.0", '"3"', "true"],
    "rounds.quorum": ["1", "0", "10001", "2.0"],
    "rounds.timeout_s": ["4.9", "604801", "inf", "nan", '"60"', "true"],
    "rounds.late_updates": ['"Use"', "true"],
    "model.network": ['"multitask_unet"', '"U-Net"', "1"],
    "model.encoder": ['"resnet19"', '""', "1"],
    "model.loss": ['"dice"', '""', "1"],
    "model.task_weighting": ['"kendall"', "true"],
    "model.size": ['"large"', '"Tiny"', "1"],
    "model.input_height_px": ["32", "65", "4128", "64.0"],
    "model.input_width_px": ["32", "65", "4128", "64.0"],
    "training.local_epochs": ["0", "101", "1.0"],
    "training.batch_size": ["0", "257", "4.0"],
    "training.learning_rate": ["0", "-0.1", "1.1", "nan", "inf", '"0.1"', "true"],
    "training.weight_decay": ["-0.1", "1.1", "nan"],
    "training.warmup_fraction": ["-0.1", "0.6", "nan"],
    "training.augment": ["1", "0", '"true"'],
    "training.flip": ["1", '"true"'],
    "training.deterministic": ["1", "0", '"true"'],
    "aggregation.strategy": ['"krum"', '"FedAvg"', "1"],
    "aggregation.bits": ["4", "32", "true", '"16"'],
    "aggregation.compression": ['"deflate"', '"gzip"', "true"],
    "aggregation.proximal_mu": ["0", "-0.1", "10.1", "nan"],
    "aggregation.server_learning_rate": ["0", "10.1", "inf"],
    "aggregation.momentum": ["-0.1", "1", "nan"],
    "aggregation.second_momentum": ["-0.1", "1", "nan"],
    "aggregation.adaptivity": ["0", "1.1", "nan"],
    "aggregation.hostile_sites": ["0", "1001", "1.0"],
    "personalisation.layers": ['"all"', '"Norms"', "true"],
    "personalisation.epochs": ["0", "1001", "3.0"],
    "personalisation.learning_rate": ["0", "1.1", "nan"],
    "privacy.secure_aggregation": ['"yes"', "true", "1"],
    "privacy.colluding_sites": ["-1", "1001", "1.0"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in LEGAL for value in LEGAL[name]])
def test_a_value_within_its_range_is_taken_as_written(name: str, value: str) -> None:
    *tables, key = name.split(".")
    document = Plan.from_toml(with_setting(name, value)).model_dump(mode="json")
    for table in tables:
        document = document[table]

    assert document[key] == tomllib.loads(f"value = {value}")["value"]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ILLEGAL for value in ILLEGAL[name]])
def test_a_value_out_of_range_or_of_another_type_is_named(name: str, value: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_toml(with_setting(name, value))

    assert f"'{name}'" in caught.value.message


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        (SHORTEST + "qorum = 2\n", "rounds.qorum", "quorum"),
        ("sead = 1\n" + SHORTEST, "sead", "seed"),
        (SHORTEST + "[training]\nlearningrate = 0.1\n", "training.learningrate", "learning_rate"),
        (SHORTEST + "[modell]\n", "modell", "model"),
        (SHORTEST + "[model]\ninput_hight_px = 64\n", "model.input_hight_px", "input_height_px"),
        ("seed = 'many'\nxyz = 1\n" + SHORTEST, "xyz", None),
    ],
)
def test_an_unknown_setting_is_named_with_the_nearest_known_one(
    text: str, unknown: str, nearest: str | None
) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_toml(text)

    assert caught.value.message == f"The plan has an unknown setting '{unknown}'."
    assert nearest is None or caught.value.hint == f"Did you mean '{nearest}'?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the setting"),
        ('name = "density"\n', "lacks the setting 'rounds'"),
        ('name = "density"\n[rounds]\n', "lacks the setting 'rounds.count'"),
        ('name = "density"\nrounds = 3\n', "'rounds' is not usable"),
        ("name = density", "not valid TOML"),
        (SHORTEST + "count = 4\n", "not valid TOML"),
        ("\0", "not valid TOML"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_reason(text: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Plan.from_toml(text)


@pytest.mark.parametrize(
    ("strategy", "hostile_sites", "least"),
    [("median", 1, 3), ("trimmed_mean", 1, 3), ("trimmed_mean", 2, 5), ("multi_krum", 1, 5)],
)
def test_a_robust_strategy_needs_a_quorum_that_outvotes_the_hostile_sites(
    strategy: str, hostile_sites: int, least: int
) -> None:
    def plan(quorum: int) -> Plan:
        settings = f'strategy = "{strategy}"\nhostile_sites = {hostile_sites}\n'
        return Plan.from_toml(f"{SHORTEST}quorum = {quorum}\n[aggregation]\n{settings}")

    assert plan(least).rounds.quorum == least
    with pytest.raises(PlanError) as caught:
        plan(least - 1)
    assert caught.value.message == (
        f"The plan's settings do not go together: {strategy} needs a 'rounds.quorum' of at least {least}."
    )


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Plan.from_toml(SHORTEST).seed = 1


EXTENDS = f'parent = "{"a" * 64}"\ninitial_weights = "{"b" * 64}"\nextends = ["run-1", "run-2"]\n'


def test_an_extension_names_its_line_and_is_the_last_of_it() -> None:
    plan = Plan.from_toml(EXTENDS + SHORTEST)

    assert plan.lineage("run-3") == ("run-1", "run-2", "run-3")
    assert Plan.from_toml(plan.to_toml()) == plan
    assert Plan.from_toml(SHORTEST).lineage("run-3") == ("run-3",)


@pytest.mark.parametrize("missing", ["parent", "initial_weights"])
def test_an_extension_without_its_parent_or_its_weights_is_refused(missing: str) -> None:
    lines = [line for line in EXTENDS.splitlines() if not line.startswith(missing)]

    with pytest.raises(PlanError, match=missing):
        Plan.from_toml("\n".join([*lines, SHORTEST]))


@pytest.mark.parametrize("extends", ["[]", '["Run 1"]', '"run-1"', "[1]", '["../run-1"]'])
def test_a_line_of_what_are_no_runs_is_refused(extends: str) -> None:
    text = EXTENDS.replace('["run-1", "run-2"]', extends)

    with pytest.raises(PlanError, match="extends"):
        Plan.from_toml(text + SHORTEST)


AGGREGATE = PrivacyPlan(secure_aggregation="on", metrics="in_aggregate")


@pytest.mark.parametrize("wanted", ["auto", "off"])
def test_metrics_in_aggregate_without_secure_aggregation_are_refused_by_name(wanted: str) -> None:
    text = f'{SHORTEST}[privacy]\nsecure_aggregation = "{wanted}"\nmetrics = "in_aggregate"\n'

    with pytest.raises(PlanError, match=r"privacy\.metrics.*privacy\.secure_aggregation"):
        Plan.from_toml(text)

    assert Plan.from_toml(text.replace(f'"{wanted}"', '"on"')).tells_in_aggregate


def test_final_weights_are_evaluated_under_a_number_of_their_own_where_metrics_are_summed() -> None:
    plain = Plan.from_toml(SHORTEST)

    summed = plain.model_copy(update={"privacy": AGGREGATE})
    silent = summed.model_copy(update={"metrics": ()})

    assert (plain.evaluation_number, summed.evaluation_number) == (plain.rounds.count, plain.rounds.count + 1)
    assert not silent.tells_in_aggregate
    assert silent.evaluation_number == plain.rounds.count
