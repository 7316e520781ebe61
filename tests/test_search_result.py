"""What a search found, as a table and as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from searches import SPACE, build, run

from fastnn import (
    MLP,
    SGD,
    Choice,
    GridSearch,
    IntUniform,
    LogUniform,
    RandomSearch,
    Stage,
    Standardizer,
    Trainer,
    Uniform,
    plot_search_projections,
)

HOT = {"learning_rate": LogUniform(1e-8, 1e8)}


def test_the_table(capsys):
    result = run(RandomSearch(build, SPACE, [Stage(5)]))
    result.table(3)
    head, *rows, foot = capsys.readouterr().out.splitlines()
    assert head.split() == ["trial", "stage", "epochs", "val_accuracy", "val_loss", "learning_rate", "width"]
    assert [int(row.split()[0]) for row in rows] == [trial.index for trial in result.top(3)]
    assert rows[0].split()[1:5] == ["1", "1", f"{result.best.score:.4f}", f"{result.best.loss:.4f}"]
    assert foot == "5 trials in one stage, 0 of which exploded"
    assert repr(result) == "<SearchResult of 5 trials of learning_rate, width>"


def test_the_picture_has_a_panel_a_parameter(tmp_path):
    space = HOT | {"width": IntUniform(4, 9), "activation": Choice(["relu", "tanh"]), "keep_prob": Uniform(0.5, 1)}

    def make(learning_rate, width, activation, keep_prob):
        return Trainer(MLP((6, width, 3), activation=activation, keep_prob=keep_prob), optimizer=SGD(learning_rate),
        preprocessing=Standardizer())

    result = run(RandomSearch(make, space, [Stage(20), Stage(4)]))
    figure = result.plot(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000
    panels = [axis for axis in figure.axes if axis.get_xlabel()]
    assert [axis.get_xlabel() for axis in panels] == list(space)
    assert [axis.get_xscale() for axis in panels] == ["log", "linear", "linear", "linear"]
    first, second, *_ = panels[0].collections
    shown = first.get_offsets()
    own = [trial for trial in result.trials if trial.stage == 0 and not trial.exploded]
    np.testing.assert_allclose(shown, [(trial.parameters["learning_rate"], trial.score) for trial in own])
    assert len(second.get_offsets()) == sum(trial.stage == 1 and not trial.exploded for trial in result.trials)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["stage 1", "stage 2", *(["exploded"] if result.exploded else []), "best"]


def test_projections_show_why_random_is_better(tmp_path):
    grid, random = run(GridSearch(build, SPACE)), run(RandomSearch(build, SPACE, [Stage(9)]))
    figure = plot_search_projections(grid, random, ("learning_rate", "width"), tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 10_000
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["grid: 9 trials,\n3 values of learning_rate", "random: 9 trials,\n9 values of learning_rate"]
    assert [axis.get_xscale() for axis in figure.axes] == ["log"] * 4
    with pytest.raises(ValueError, match="must name parameters of both searches"):
        plot_search_projections(grid, random, ("learning_rate", "depth"))


def test_narrow_logarithmic_axes_have_labels_that_fit():
    result = run(RandomSearch(build, {"learning_rate": LogUniform(1e-3, 1e-1), "width": IntUniform(4, 64, log=True)}, [Stage(5)]))
    _, width = (axis for axis in result.plot().axes if axis.get_xlabel())
    assert [label.get_text() for label in width.get_xticklabels()] == ["4", "8", "16", "32", "64"]
    assert len(width.get_xticks(minor=True)) == 0
