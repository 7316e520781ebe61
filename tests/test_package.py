from __future__ import annotations

import re
from importlib.metadata import version

import pytest

import fastnn
from fastnn import backend


def test_every_public_name_is_there_and_kernels_are_those_of_the_backend():
    assert [name for name in fastnn.__all__ if not hasattr(fastnn, name)] == []
    assert fastnn.linear_relu_forward is backend.kernels.linear_relu_forward
    assert fastnn.MLP.__module__ == "fastnn.model"
    assert fastnn.__version__ == version("fastnn")
    with pytest.raises(AttributeError, match="module 'fastnn' has no attribute 'mpl'"):
        fastnn.mpl  # noqa: B018


def test_show_config_prints_what_it_returns(capsys):
    config = fastnn.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [tuple(re.split(r" {2,}", line)) for line in lines] == [(key, str(value)) for key, value in config.items()]
    assert config["backend"] == backend.name
    assert config["fastnn"] == version("fastnn")
    assert config["isa"]
