"""`policy.toml`: what it may say, and what a person is told who wrote something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.policy.policy import Policy
from client.policy.reading import as_plain, parse_policy, read_policy
from client.policy.wording import policy_in_words
from shared.errors import PolicyFileError

EVERYTHING = """\
approval = "not needed"

[allow]
coordinators = ["Density study"]
plans = ["density-*"]
runs = ["run-1"]
bundles = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]

[hours]
begin = "20:00"
end = "06:30"
time_zone = "Europe/Helsinki"

[limits]
rounds = 20
local_epochs = 3
personal_epochs = 20
gpu_memory_gib = 8

[data]
min_examples = 50

[egress]
metrics = ["loss"]
smallest_count = 10
round_counts_to = 5
readiness = "told"

[privacy]
secure_aggregation = "required"
metrics = "in_aggregate"
least_sites = 5
colluding_sites = 1
known_keys = ["bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]
noise = "required"
least_multiplier = 1
max_epsilon = 8
delta = 1e-6
"""


def test_without_a_file_every_rule_is_the_default_and_a_person_must_approve(tmp_path: Path) -> None:
    policy = read_policy(tmp_path / "policy.toml")

    assert policy == Policy()
    assert policy.approval == "needed"
    assert all(rule.is_default for rule in policy_in_words(policy))


def test_every_rule_can_be_set() -> None:
    policy = parse_policy(EVERYTHING.encode())

    assert not [rule.name for rule in policy_in_words(policy) if rule.is_default]
    assert as_plain(policy)["limits.gpu_memory_gib"] == 8
    assert as_plain(policy)["hours.end"] == "06:30"


def test_every_rule_is_told_in_words() -> None:
    words = {rule.name: rule.words for rule in policy_in_words(parse_policy(EVERYTHING.encode()))}

    assert words["approval"] == "plans that keep to the rules run without a person"
    assert words["allow.coordinators"] == "only 'Density study'"
    assert words["limits.gpu_memory_gib"] == "at most 8 GiB"
    assert words["egress.smallest_count"] == "tells no count below 10, and no metric over fewer images"
    assert words["privacy.max_epsilon"] == "all plans together spend an epsilon of at most 8"
    assert words["egress.round_counts_to"] == "counts leave rounded down to 5s"


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ('approval = "perhaps"', 1, '\'approval\' must be "needed" or "not needed"'),
        ("[limits]\nrounds = 0", 2, "'limits.rounds' must be a whole number from 1 to 10000"),
        ("[limits]\nrounds = true", 2, "'limits.rounds' must be a whole number"),
        ('\n\n[limits]\nlocal_epochs = "3"', 4, "'limits.local_epochs' must be a whole number from 1 to 100"),
        ("[limits]\ngpu_memory_gib = -1", 2, "'limits.gpu_memory_gib' must be a number above 0"),
        ("[limits]\nround = 3", 2, "there is no rule 'limits.round'; did you mean 'rounds'"),
        ("[limit]\nrounds = 3", 1, "there is no rule 'limit'; did you mean 'limits'"),
        ('[hours]\nbegin = "25:00"', 2, "'hours.begin' must be a time of day"),
        ('[hours]\nbegin = "20:00"\ntime_zone = "Mars/North"', 3, "'hours.time_zone' must be"),
        (
            '[egress]\nmetrics = ["loss", "accuracy"]',
            2,
            "'egress.metrics' must be a list of any of train_loss",
        ),
        ("[egress]\nround_counts_to = 10", 1, "in [egress], round_counts_to is above smallest_count"),
        ('[allow]\nbundles = ["abc"]', 2, "'allow.bundles' must be a list of SHA-256 digests"),
        ('[allow]\nplans = "density"', 2, "'allow.plans' must be a list of plans' names"),
        ('[privacy]\nnoise = "some"', 2, "'privacy.noise' must be"),
        ("[privacy]\nmax_epsilon = 0", 2, "'privacy.max_epsilon' must be a number above 0, at most 1000"),
        ("[privacy]\ndelta = 0.1", 2, "'privacy.delta' must be a number from 1e-12 to 1e-3"),
        ("limits = 3", 1, "'limits' must be a table of rules, `[limits]`"),
        ('approval = "needed"\n[limits\nrounds = 3', 2, "this is not TOML"),
        ('approval = "needed', 1, "this is not TOML"),
        ("[limits]\nrounds = 3\nrounds = 4", 3, "this is not TOML"),
        ('approval = "needed"\n# \udcff', 2, "this line is not text in UTF-8"),
    ],
)
def test_a_wrong_line_is_told_with_its_number_and_what_it_may_be(content: str, line: int, said: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        parse_policy(content.encode(errors="surrogateescape"))

    assert caught.value.message.startswith(f"policy.toml, line {line}: ")
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert "refuses every plan" in caught.value.hint


def test_a_policy_that_cannot_be_read_is_no_default(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").mkdir()

    with pytest.raises(PolicyFileError, match="cannot be read"):
        read_policy(tmp_path / "policy.toml")
