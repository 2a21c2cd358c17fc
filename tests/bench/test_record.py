"""Records: what is written can be read, what is damaged is refused, nothing private is inside."""

import json
from pathlib import Path

import pytest

from bench.__main__ import command_line
from bench.record import Record, load, load_all, rounded, save


def test_round_trip(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "folder" / record.file_name
    save(record, path)
    assert path.name == "ops-abacus-9000-2-cores-2026-01-02.json"
    assert load(path) == json.loads(json.dumps(rounded(record.to_dict())))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # no temporary file left
    assert path.read_text().count('"variant"') == sum(
        '"variant"' in line for line in path.read_text().splitlines()
    )  # a row is a line


def test_six_digits(record: Record, tmp_path: Path) -> None:
    record.rows[0].floor = 1.23456789e-5
    save(record, tmp_path / "a.json")
    assert load(tmp_path / "a.json")["rows"][0]["floor"] == 1.23457e-5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.update(schema=0), "schema 1, got 0"),
        (lambda r: r.pop("git"), r"record: missing or unknown \['git'\]"),
        (lambda r: r["rows"][1].pop("floor"), r"rows: missing or unknown \['floor'\]"),
        (lambda r: r["memory"][0].update(host="x"), r"memory: missing or unknown \['host'\]"),
    ],
)
def test_damaged_records_are_refused(
    record: Record, tmp_path: Path, damage: object, message: str
) -> None:
    content = record.to_dict()
    assert callable(damage)
    damage(content)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("text", ["", "[1]", '{"schema": 1', "\xff"])
def test_foreign_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.json"):
        load(path)


def test_oldest_first(record: Record, tmp_path: Path) -> None:
    for date in ("2026-03-01", "2025-12-31", "2026-01-15"):
        record.date = date
        save(record, tmp_path / record.file_name)
    assert [r["date"] for r in load_all(tmp_path)] == ["2025-12-31", "2026-01-15", "2026-03-01"]


@pytest.mark.parametrize("words", [["ops", "--json", "/home/me/x"], ["ops", "--json=/home/me/x"]])
def test_the_command_names_no_file(words: list[str]) -> None:
    assert command_line([*words, "--quick"]) == "python -m bench ops --quick"
