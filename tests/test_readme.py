"""What README shows runs as written and reaches what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fastnn import cli

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_as_written(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 25
    ran = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    (accuracy,) = re.findall(r"test accuracy ([\d.]+)%", ran.stdout)
    assert float(accuracy) >= 96.5
    assert re.search(r"gradient check: (happy|fine)", ran.stdout)
    assert (tmp_path / "digits.npz").exists()


def test_the_two_commands_and_the_place_for_the_table_are_there():
    assert "pip install . && fastnn train\npip install '.[test]' && pytest\n" in README
    assert re.search(r"<!-- bench table -->\n.+\n<!-- end -->", README, re.DOTALL)


def test_every_subcommand_it_shows_exists():
    shown = set(re.findall(r"(?:^|[|&] )fastnn (\w+)\b", README, re.MULTILINE)) - {"trains"}
    assert {"train", "predict", "info", "gradcheck", "bench"} <= shown
    for name in shown:
        assert cli.main([name, "--help"]) == 0
