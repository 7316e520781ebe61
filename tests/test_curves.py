"""Training curves: what is drawn is read back from the figure's own lines."""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest

import fastnn
from fastnn import History, cli, curves

RECORDS = [
    {"epoch": 4, "loss": 2.0, "accuracy": 0.25, "val_loss": 1.5, "val_accuracy": 0.5, "learning_rate": 1e-1, "gradient_norm": 3.0,
     "update_ratio": 2e-3, "seconds": 0.5},
    {"epoch": 5, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.25, "val_accuracy": 0.75, "learning_rate": 1e-2, "gradient_norm": 2.0,
     "update_ratio": math.nan, "seconds": 0.5},
    {"epoch": 6, "loss": 0.05, "accuracy": 1.0, "val_loss": 1.75, "val_accuracy": 0.625, "learning_rate": 1e-3, "gradient_norm": 1.0,
     "update_ratio": 1e-3, "seconds": 0.5},
]  # fmt: skip
STOPPED = History(RECORDS, "early_stopping", 5)


def lines(axes, style):
    return [line for line in axes.get_lines() if line.get_linestyle() == style and len(line.get_xdata()) > 1]


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_panel_a_quantity_with_the_recorded_numbers():
    found = panels(STOPPED.plot())
    assert list(found) == ["loss", "accuracy", "learning rate", "update ratio"]
    for title, name in (("loss", "loss"), ("accuracy", "accuracy")):
        (training,), validation = lines(found[title], "--"), lines(found[title], "-")[0]
        np.testing.assert_array_equal(training.get_xdata(), [4, 5, 6])
        np.testing.assert_array_equal(training.get_ydata(), STOPPED[name])
        np.testing.assert_array_equal(validation.get_xdata(), [4, 5, 6])
        np.testing.assert_array_equal(validation.get_ydata(), STOPPED[f"val_{name}"])
    for title, name in (("learning rate", "learning_rate"), ("update ratio", "update_ratio")):
        np.testing.assert_array_equal(lines(found[title], "-")[0].get_ydata(), STOPPED[name])
    assert [found[title].get_yscale() for title in found] == ["log", "linear", "log", "log"]
    assert [line.get_ydata()[0] for line in lines(found["update ratio"], "-.")] == [1e-3]
    assert {axes.get_xlabel() for axes in found.values()} == {"epoch"}


def test_scales_follow_the_numbers():
    records = [{"epoch": k, "loss": loss, "accuracy": share, "learning_rate": 0.1} for k, loss, share in ((1, 2.0, 0.01), (2, 0.11, 0.99))]
    found = panels(History(records).plot())
    assert {title: axes.get_yscale() for title, axes in found.items()} == dict.fromkeys(("loss", "accuracy", "learning rate"), "linear")
    records[1]["loss"] = 0.09
    assert panels(History(records).plot())["loss"].get_yscale() == "log"
    records[1]["loss"] = 0.0
    assert panels(History(records).plot())["loss"].get_yscale() == "linear"


def test_best_epoch_and_early_stop_are_marked():
    figure = STOPPED.plot()
    axes = panels(figure)["loss"]
    (dot,), (cross,) = ([line for line in axes.get_lines() if line.get_marker() == marker] for marker in "ox")
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([5], [1.25])
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([6], [1.75])
    assert [list(line.get_xdata()) for line in lines(axes, ":")] == [[5, 5]]
    assert legend(figure) == ["training", "validation", "(best epoch 5, stopped early at 6)"]
    assert curves.outcome(History(RECORDS, "epochs")) == "(best epoch 5)"
    assert curves.outcome(History(RECORDS, "early_stopping", 6)) == "(best epoch 6, stopped early at 6)"
    assert curves.best_epoch(History([{"epoch": 1, "val_loss": "x"}, {"epoch": 2, "val_loss": 1.0}, {"epoch": 3}])) == 2
    plain = History([{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}], "epochs")
    assert (curves.best_epoch(plain), curves.outcome(plain)) == (None, "")
    figure = plain.plot()
    assert not lines(figure.axes[0], ":")
    assert not [line for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "x")]
    assert legend(figure)[-1] == "fit"


def test_one_epoch_is_a_point_not_an_invisible_line():
    axes = History(RECORDS[:1]).plot().axes[0]
    assert [line.get_marker() for line in axes.get_lines()][:2] == [".", "."]
    assert STOPPED.plot().axes[0].get_lines()[0].get_marker() == "None"


def test_several_histories_lie_over_one_another(tmp_path):
    other = History([{"epoch": 1, "loss": 3.0, "rmse": 2.0, "val_rmse": 1.0}, {"epoch": 2, "loss": 2.5, "rmse": 1.0, "val_rmse": 0.5}])
    other.save(tmp_path / "second.json")
    figure = curves.plot({"first": STOPPED, "second": tmp_path / "second.json"})
    found = panels(figure)
    assert list(found) == ["loss", "accuracy", "rmse", "learning rate", "update ratio"]
    first, second = lines(found["loss"], "--")
    assert first.get_color() != second.get_color()
    np.testing.assert_array_equal(second.get_ydata(), [3.0, 2.5])
    assert lines(found["rmse"], "-")[0].get_color() == second.get_color()
    assert legend(figure) == ["training", "validation", "first (best epoch 5, stopped early at 6)", "second"]
    assert legend(curves.plot([other, other]))[2:] == ["fit 1", "fit 2"]
    assert legend(curves.plot([tmp_path / "second.json", other]))[2:] == ["second", "fit 2"]
    (tmp_path / "b").mkdir()
    other.save(tmp_path / "b" / "second.json")
    both = [str(tmp_path / "second.json"), str(tmp_path / "b" / "second.json")]
    assert legend(curves.plot(both))[2:] == both


def test_quantities_are_chosen_and_a_callbacks_are_shown():
    records = [{**record, "churn": 0.5 / record["epoch"], "note": "text", "flag": True} for record in RECORDS]
    assert list(panels(curves.plot(History(records)))) == ["loss", "accuracy", "churn", "learning rate", "update ratio"]
    found = panels(curves.plot(STOPPED, quantities=["gradient_norm"]))
    assert list(found) == ["gradient norm"]
    np.testing.assert_array_equal(lines(found["gradient norm"], "-")[0].get_ydata(), [3.0, 2.0, 1.0])


def test_series_has_gaps_for_what_is_no_number():
    history = History([{"epoch": 3, "a": 1}, {"a": None}, {"epoch": "x", "a": math.inf}, {"epoch": 9, "a": "7"}, {"epoch": 10, "a": True},
                       {"epoch": 11, "a": np.float32(0.5)}, {"epoch": 12, "a": 10**400}])
    epochs, values = curves.series(history, "a")
    np.testing.assert_array_equal(epochs, [3, 2, 3, 9, 10, 11, 12])
    np.testing.assert_array_equal(values, [1, np.nan, np.nan, np.nan, np.nan, 0.5, np.nan])
    assert epochs.dtype == values.dtype == np.float64


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_written(tmp_path, suffix):
    path = tmp_path / f"curves{suffix}"
    figure = STOPPED.plot(path)
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    assert type(figure).__name__ == "Figure"


@pytest.mark.parametrize(("wrong", "kind", "sentence"), [
    ((3,), TypeError, "argument 'histories' must be histories"),
    (([],), TypeError, "argument 'histories' must be histories .*got none"),
    (({},), TypeError, "argument 'histories' must be histories"),
    (([STOPPED, 3],), TypeError, "argument 'histories' must be histories .*got int"),
    ((History(),), ValueError, "must have epochs .*got none"),
    (({"empty": History()},), ValueError, "must have epochs .*got none in 'empty'"),
    ((History([{"epoch": 1, "loss": math.nan}]),), ValueError, "argument 'quantities' must have been recorded"),
])
def test_wrong_histories_get_a_sentence(wrong, kind, sentence):
    with pytest.raises(kind, match=f"^fastnn.curves.plot: .*{sentence}|^fastnn.curves.plot: {sentence}"):
        curves.plot(*wrong)


def test_wrong_quantities_get_a_sentence():
    for wrong in (["loss", "rmse"], []):
        with pytest.raises(ValueError, match=r"^fastnn.curves.plot: argument 'quantities' must have been recorded .*some of .*loss"):
            curves.plot(STOPPED, quantities=wrong)
    for wrong in ("loss", 3):
        with pytest.raises(TypeError, match=rf"^fastnn.curves.plot: argument 'quantities' must be several .*got {wrong!r}"):
            curves.plot(STOPPED, quantities=wrong)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"^fastnn.curves.plot: a picture needs the extra: pip install 'fastnn\[plot\]'$"):
        STOPPED.plot()


def test_a_fit_draws_itself():
    x, y = np.random.default_rng(0).standard_normal((30, 3)), np.random.default_rng(1).standard_normal((30, 1))
    history = fastnn.MLP((3, 4, 1), dtype="float64").fit(x, y, loss="l2", epochs=3, validation_data=(x, y))
    found = panels(history.plot())
    assert list(found) == ["loss", "rmse", "learning rate", "update ratio"]
    np.testing.assert_array_equal(lines(found["rmse"], "-")[0].get_ydata(), history["val_rmse"])


# --- the command -------------------------------------------------------------------------------------------------------------------


def command(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_train_writes_the_history_that_plot_draws(capsys, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    status, out, _ = command(capsys, "train", "--epochs", "3", "--hidden", "none", "--history", first)
    assert status == 0
    assert f"history saved in {first}" in out
    history = History.load(first)
    assert (len(history), history.stopped) == (3, "epochs")
    assert history["epoch"] == [1, 2, 3]
    STOPPED.save(second)
    status, out, _ = command(capsys, "plot", first)
    assert status == 0
    assert out.splitlines()[-1] == f"saved in {tmp_path / 'first.png'}"
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = command(capsys, "plot", second, first, "--out", tmp_path / "both.svg")
    assert status == 0
    assert re.search(r"second\.json +3 +0\.0500 +1\.7500 +\(best epoch 5, stopped early at 6\)\n", out)
    assert "first" in (tmp_path / "both.svg").read_text(encoding="utf-8")
    assert not (tmp_path / "second.png").exists()
    assert command(capsys, "plot", second, first)[1].endswith(f"saved in {tmp_path / 'second.png'}\n")


def test_an_interrupted_training_keeps_its_history(capsys, tmp_path, monkeypatch):
    path = tmp_path / "history.json"
    fit = fastnn.MLP.fit

    def interrupted(self, *data, callbacks, **settings):
        def stop(trainer, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        return fit(self, *data, callbacks=[*callbacks, stop], **settings)

    monkeypatch.setattr(fastnn.MLP, "fit", interrupted)
    assert command(capsys, "train", "--epochs", "4", "--hidden", "none", "--history", path)[0] == cli.INTERRUPTED
    assert (len(History.load(path)), History.load(path).stopped) == (2, None)


def test_plot_answers_what_is_wrong(capsys, tmp_path):
    good, damaged = tmp_path / "good.json", tmp_path / "damaged.json"
    STOPPED.save(good)
    damaged.write_bytes(good.read_bytes()[:100])
    for arguments, sentence in (
        ([damaged], "must name a file written by save"), ([good, tmp_path / "none.json"], "no file"),
        ([good, "--out", tmp_path / "curves.txt"], "must end in .png or .svg or .pdf"),
        ([good, "--out", tmp_path / "nowhere" / "curves.png"], "cannot be written"), ([], "required"),
    ):  # fmt: skip
        status, out, err = command(capsys, "plot", *arguments)
        assert (status, out) == (2, "")
        assert sentence in err
        assert err.startswith("fastnn plot: ")
        assert err.count("\n") == 1
    assert sorted(child.name for child in tmp_path.iterdir()) == ["damaged.json", "good.json"]
    assert command(capsys, "train", "--history", tmp_path / "history.txt")[0] == 2
