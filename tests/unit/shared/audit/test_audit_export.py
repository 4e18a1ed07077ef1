"""Exports, read back as a collector or an auditor would."""

from __future__ import annotations

import datetime
import io
import re
from dataclasses import replace

import pytest

from shared.audit.chain import AuditLine, Verified, verify_chain
from shared.audit.export import read_json_lines, write_json_lines, write_syslog
from shared.errors import TamperedError
from tests.unit.shared.audit.histories import history, rechained

# The grammar of RFC 5424, section 6, as far as structured data without a free-form part need it.
SD_NAME = r"[!#-<>-\\^-~]{1,32}"
PARAMETER = rf'({SD_NAME})="((?:[^"\\\]]|\\["\\\]])*)"'
ELEMENT = rf"\[({SD_NAME})((?: {PARAMETER})*)\]"
MESSAGE = re.compile(
    r"<(?P<priority>\d{1,3})>1 (?P<at>\S+) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48})"
    rf" (?P<process>[!-~]{{1,128}}) (?P<id>[!-~]{{1,32}}) (?P<data>(?:{ELEMENT})+)"
)


def exported(lines: list[AuditLine]) -> str:
    stream = io.StringIO()
    write_json_lines(lines, stream)
    return stream.getvalue()


def collected(lines: list[AuditLine]) -> list[tuple[re.Match[str], dict[str, list[tuple[str, str]]]]]:
    stream = io.StringIO()
    write_syslog(lines, stream, hostname="site-a")
    messages = []
    for text in stream.getvalue().split("\n")[:-1]:
        message = MESSAGE.fullmatch(text)
        assert message is not None, text
        elements = {
            element[1]: [
                (name, re.sub(r'\\(["\\\]])', r"\1", value))
                for name, value in re.findall(PARAMETER, element[2])
            ]
            for element in re.finditer(ELEMENT, message["data"])
        }
        messages.append((message, elements))
    return messages


def test_json_lines_can_be_verified_elsewhere() -> None:
    lines = history()

    read = list(read_json_lines(io.StringIO(exported(lines))))

    assert read == lines
    assert verify_chain(read) == Verified(sequence=5, head=lines[4].hash)


def test_a_digit_changed_in_an_export_is_found() -> None:
    text = exported(history()).replace('"attempt":1', '"attempt":2')

    assert not isinstance(verify_chain(read_json_lines(io.StringIO(text))), Verified)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"sequence": NaN}',
        exported(history()[:1]).replace('"sequence":1', '"sequence":true'),
        exported(history()[:1]).replace('"sequence":1', '"sequence":1,"more":1'),
        exported(history()[:1]).replace('"details":{', '"details":{"nested":{},'),
    ],
    ids=["empty", "list", "nothing", "deep", "nan", "boolean", "more", "nested"],
)
def test_a_file_that_is_no_export_is_refused(line: str) -> None:
    with pytest.raises(TamperedError):
        list(read_json_lines([line + "\n"]))


def test_a_collector_reads_every_part_of_a_syslog_message() -> None:
    lines = history()
    third = lines[2]

    message, elements = collected(lines)[2]

    assert message["priority"] == "109"  # facility 13, severity 5
    assert datetime.datetime.fromisoformat(message["at"]).timestamp() * 1000 == pytest.approx(third.at_ms)
    assert message["at"] == "2023-11-14T22:13:20.126Z"
    assert (message["host"], message["app"], message["id"]) == ("site-a", "mammofed", "round.opened")
    assert elements["audit@32473"] == [
        ("sequence", "3"),
        ("actor", "coordinator"),
        ("subject", "run-1"),
        ("previous", third.previous),
        ("hash", third.hash),
    ]
    assert elements["details@32473"] == [
        ("attempt", "1"),
        ("cohort", "site-a"),
        ("cohort", "site-b"),
        ("number", "1"),
        ("phase", "train"),
    ]
    assert collected(lines)[1][1]["details@32473"] == []


def test_a_value_cannot_break_out_of_its_place_in_a_message() -> None:
    hostile = '"] [audit@32473 actor=\\"person:eve\\" \\'
    (line,) = rechained([replace(history()[0], actor=hostile)])

    ((_, elements),) = collected([line])

    assert dict(elements["audit@32473"])["actor"] == hostile
    assert set(elements) == {"audit@32473", "details@32473"}


def test_a_line_break_in_a_value_does_not_begin_a_message() -> None:
    (line,) = rechained([replace(history()[0], actor="ada\n<109>1 - - - - - -\u2028")])

    ((_, elements),) = collected([line])

    assert dict(elements["audit@32473"])["actor"] == "ada\ufffd<109>1 - - - - - -\ufffd"
