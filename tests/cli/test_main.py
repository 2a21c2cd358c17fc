"""The `vivace` command itself: help without torch, version, env, explain."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import vivace
from vivace.cli import app

HELP = """
import sys
from vivace.cli import app
try:
    app({arguments!r}, prog_name="vivace")
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"torch", "numpy", "soundfile", "soxr", "transformers", "rich", "tqdm"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("arguments", [["--help"], ["dac", "--help"], ["dac", "encode", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: vivace" in done.stdout


def test_python_m_vivace_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vivace", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vivace {vivace.__version__}\n"


def test_env_and_explain() -> None:
    shown = CliRunner().invoke(app, ["env"])
    assert shown.exit_code == 0
    document = CliRunner().invoke(app, ["env", "--json"])
    values = json.loads(document.stdout)
    assert {"vivace", "python", "torch", "threads"} <= values.keys()
    for name in values:
        assert name in shown.stdout
    assert CliRunner().invoke(app, ["explain"]).stdout.strip() == vivace.explain().strip()


def test_wrong_usage() -> None:
    for arguments in (["nothing"], ["dac", "encode"], ["dac", "encode", "x.wav"], ["env", "x"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "Error" in result.stderr
