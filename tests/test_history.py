from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fastnn import MLP, SGD, EarlyStopping, History, Trainer
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


def test_the_best_epoch_is_marked():
    lines = str(History(RECORDS, "early_stopping", 2)).splitlines()
    assert [line.endswith("  best") for line in lines] == [False, False, True, False]
    assert len({len(line.removesuffix("  best")) for line in lines}) == 1
    assert "best" not in str(History([{"loss": 1.0}]))


def test_the_file_is_strict_json_and_comes_back(tmp_path):
    path = tmp_path / "history.json"
    history = History([*RECORDS, {"epoch": 4, "loss": math.inf, "note": "x", "share": np.float32(0.5), "counts": np.arange(3)}],
                      "early_stopping", 2)
    history.save(path)
    values = json.loads(path.read_bytes(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values["epochs"][0] == RECORDS[0]
    assert values["epochs"][2]["val_loss"] is None
    assert values["epochs"][3] == {"epoch": 4, "loss": None, "note": "x", "share": 0.5, "counts": [0, 1, 2]}
    loaded = History.load(str(path))
    assert (loaded.stopped, loaded.best_epoch, len(loaded)) == ("early_stopping", 2, 4)
    assert loaded.records[:2] == RECORDS[:2]
    assert math.isnan(loaded[2]["val_loss"])
    assert math.isnan(loaded[3]["loss"])
    assert History.from_json(history.to_json())[3]["note"] == "x"
    assert History.from_json(History(RECORDS[:2]).to_json()) == History(RECORDS[:2]) != History(RECORDS[:1])
    assert History.from_json('{"epochs": []}').best_epoch is None


def test_a_value_that_json_has_not_is_named_and_the_file_stays(tmp_path):
    path = tmp_path / "history.json"
    History(RECORDS).save(path)
    before = path.read_bytes()
    for value in (object(), [math.nan]):
        with pytest.raises(TypeError, match=r"^fastnn.History.to_json: argument 'self' must hold what JSON can"):
            History([{"epoch": 1, "loss": value}]).save(path)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["history.json"]


FOREIGN = ["", "[]", "{}", '{"epochs": 3}', '{"epochs": [1]}', "not json", '{"epochs": [], "stopped": 3}',
           '{"epochs": [], "best_epoch": "last"}', '{"epochs": [], "best_epoch": -1}', "[" * 100000]


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_text_is_answered(text, tmp_path):
    with pytest.raises(ValueError, match=r"^fastnn.History.from_json: argument 'source' must come from to_json"):
        History.from_json(text)
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^fastnn.History.load: argument 'path' must name a file written by save .*history.json"):
        History.load(path)


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^fastnn.History.load: argument 'path' must name a file"):
        History.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text(History(RECORDS).to_json()[:-20])
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("cut.json", "bytes.json"):
        with pytest.raises(ValueError, match=name):
            History.load(tmp_path / name)


def test_early_stopping_leaves_its_best_epoch():
    x, y = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32), np.arange(40) % 3
    net = MLP((4, 8, 3), seed=0)
    history = net.fit(x, y, epochs=30, optimizer=SGD(0.5), batch_size=8, validation_data=(x[:10], 2 - y[:10]),
                      early_stopping=EarlyStopping(3, min_delta=0.01))
    best = history.best_epoch
    assert history.stopped == "early_stopping"
    assert best == len(history) - 3
    assert all(value > history["val_loss"][best - 1] - 0.01 for value in history["val_loss"][best:])
    assert Trainer(net).evaluate(x[:10], 2 - y[:10])["loss"] == history["val_loss"][best - 1]  # whose weights are back
    assert net.fit(x, y, epochs=1).best_epoch is None
