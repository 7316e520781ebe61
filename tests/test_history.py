from __future__ import annotations

import math

import pytest

from fastnn import History
from fastnn.history import improves

RECORDS = [
    {"epoch": 1, "loss": 2.0, "val_loss": 1.5, "val_accuracy": 0.5, "learning_rate": 1e-3, "seconds": 0.5},
    {"epoch": 2, "loss": 1.0, "val_loss": 1.25, "val_accuracy": 0.75, "learning_rate": 1e-3, "seconds": 0.25},
    {"epoch": 3, "loss": 0.5, "val_loss": math.nan, "val_accuracy": 0.75, "learning_rate": 5e-4, "seconds": 12.0},
]


def test_a_history_is_a_sequence_with_columns():
    history = History(RECORDS)
    assert len(history) == 3
    assert history["loss"] == [2.0, 1.0, 0.5]
    assert history[-1] is RECORDS[2]
    assert list(history) == RECORDS
    assert history.names() == ["epoch", "loss", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    assert repr(history) == "<History of 3 epochs: epoch, loss, val_loss, val_accuracy, learning_rate, seconds>"
    with pytest.raises(KeyError, match="rmse"):
        history["rmse"]


def test_best_knows_which_way_is_up():
    history = History(RECORDS)
    assert history.best()["epoch"] == 2
    assert history.best("loss")["epoch"] == 3
    assert history.best("val_accuracy")["epoch"] == 2
    with pytest.raises(ValueError, match=r"History.best: argument 'monitor' must have been recorded .*loss.*got 'rmse'"):
        history.best("rmse")
    with pytest.raises(ValueError, match="a history of at least one epoch"):
        History().best()


@pytest.mark.parametrize(("monitor", "value", "best", "min_delta", "answer"), [
    ("loss", 1.0, None, 0.0, True), ("loss", 0.9, 1.0, 0.0, True), ("loss", 1.0, 1.0, 0.0, False), ("loss", 0.9, 1.0, 0.2, False),
    ("val_accuracy", 0.9, 0.8, 0.0, True), ("accuracy", 0.7, 0.8, 0.0, False), ("val_accuracy", 0.85, 0.8, 0.1, False),
    ("loss", math.nan, None, 0.0, False), ("val_rmse", 1.0, 2.0, 0.0, True),
])
def test_improves(monitor, value, best, min_delta, answer):
    assert improves(monitor, value, best, min_delta) is answer


def test_str_is_an_aligned_table():
    lines = str(History(RECORDS)).splitlines()
    assert lines[0].split() == History(RECORDS).names()
    assert lines[1].split() == ["1", "2.0000", "1.5000", "0.5000", "0.001", "0.50"]
    assert lines[3].split() == ["3", "0.5000", "nan", "0.7500", "0.0005", "12.00"]
    assert len({len(line) for line in lines}) == 1


def test_records_need_not_agree():
    lines = str(History([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5, "extra": "x"}])).splitlines()
    assert [line.split() for line in lines] == [["epoch", "loss", "extra"], ["1", "1.0000"], ["2", "0.5000", "x"]]


def test_json_round_trip(tmp_path):
    history = History(RECORDS[:2])
    path = tmp_path / "history.json"
    text = history.to_json(path)
    assert History.from_json(text) == history
    assert History.from_json(path.read_text(encoding="utf-8")) == history
    assert History.from_json(text) != History(RECORDS[:1])
    assert math.isnan(History.from_json(History(RECORDS).to_json())["val_loss"][2])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"epochs": 3}', '{"epochs": [1]}', "not json"])
def test_foreign_text_is_answered(text):
    with pytest.raises(ValueError, match=r"^fastnn.History.from_json: argument 'source' must come from to_json"):
        History.from_json(text)
