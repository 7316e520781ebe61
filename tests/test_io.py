from __future__ import annotations

import io
import json
import os
import pickle
import stat
import sys
import zipfile

import numpy as np
import pytest

import fastnn
from fastnn import MLP, Hinge, MinMaxScaler, Standardizer

RNG = np.random.default_rng(41)
X = RNG.normal(size=(8, 4)).astype(np.float32)


def net(**kwargs):
    made = MLP((4, 6, 3), **{"activation": "tanh", "keep_prob": (0.9, 0.5), "init": "glorot_normal", "seed": 2**63 + 5, **kwargs})
    for layer in made.layers:
        layer.bias[...] = RNG.normal(size=layer.bias.shape)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


@pytest.mark.parametrize("loss", [Hinge(margin=0.25), fastnn.L2(), fastnn.SoftmaxCrossEntropy()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(path, dtype, loss):
    made = net(dtype=dtype)
    made.loss = loss
    metadata = {"classes": ["a", "é"], "scaler": {"mean": [0.1, 1e-300]}, "none": None}
    made.save(path, metadata)
    loaded, read = fastnn.load(path)
    assert repr(loaded) == repr(made)
    assert [p.tobytes() for p in loaded.parameters()] == [p.tobytes() for p in made.parameters()]
    assert loaded.loss == loss
    assert read == metadata
    assert np.array_equal(MLP.load(str(path)).forward(X), made.forward(X))
    loaded.fit(X, X[:, :3].astype(dtype), loss="l2", epochs=1)


SCALERS = [Standardizer(divide=False), Standardizer("channel", channels=2), MinMaxScaler(0, 1), MinMaxScaler(axis="global")]


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_preprocessing_is_saved_with_the_net(path, scaler):
    made = net()
    made.preprocessing = scaler.fresh().fit(X)
    made.save(path)
    loaded = MLP.load(path)
    assert repr(loaded.preprocessing) == repr(scaler)
    assert np.array_equal(loaded.forward(X), made.forward(X))
    with pytest.warns(fastnn.DataLeakWarning, match="100 % of the rows of 'test'"):
        loaded.preprocessing.check(test=X)


def test_safetensors_round_trip(tmp_path):
    pytest.importorskip("safetensors", reason="the extra 'safetensors' is not installed")
    made = net()
    path = tmp_path / "net.safetensors"
    made.save(path, {"a": 1})
    loaded, metadata = fastnn.load(path)
    assert metadata == {"a": 1}
    assert repr(loaded) == repr(made)
    assert [p.tobytes() for p in loaded.parameters()] == [p.tobytes() for p in made.parameters()]
    content = path.read_bytes()
    for damaged in (content[:-5], b"", content[:100], content.replace(b"fastnn-mlp", b"fastnn-xyz"), content.replace(b'"F32"', b'"I32"')):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^fastnn.load: argument 'path' must name a complete file written by save"):
            fastnn.load(path)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "net.safetensors").write_bytes(b"x")
    for call in (lambda: net().save(tmp_path / "new.safetensors"), lambda: fastnn.load(tmp_path / "net.safetensors")):
        with pytest.raises(ImportError, match=r"pip install 'fastnn\[safetensors\]'"):
            call()
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_what_cannot_be_named_is_left_out(path):
    class Own(fastnn.L2):
        pass

    made = MLP((4, 3), init=lambda rng, shape: np.ones(shape))
    made.loss = Own()
    made.save(path)
    loaded, metadata = fastnn.load(path)
    assert (loaded.init, loaded.loss, metadata) == (None, None, {})
    assert loaded.layers[0].weight.tolist() == [[1] * 3] * 4
    with pytest.raises(ValueError, match=r"'net.loss' must be set"):
        loaded.predict(X)


def test_the_file_is_plain_numpy(path):
    made = net()
    made.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["header", "layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]
        assert np.array_equal(arrays["layers.1.weight"], made.layers[1].weight)
        assert json.loads(arrays["header"].tobytes())["format"] == "fastnn-mlp"


# --- files that are none -------------------------------------------------------------------------------------------------------------


def fails(path, reason=""):
    with pytest.raises(ValueError, match=rf"^fastnn\.load: argument 'path' must name a complete file written by save .*{reason}") as caught:
        fastnn.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_every_truncation_is_answered(path):
    net().save(path)
    content = path.read_bytes()
    for length in [*range(200), *range(200, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        fails(path)


def test_a_flipped_bit_is_never_loaded_as_other_numbers(path):
    made = net()
    made.save(path)
    content = bytearray(path.read_bytes())
    expected = [p.tobytes() for p in made.parameters()]
    outcomes = set()
    for position in range(0, len(content), 7):
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        content[position] ^= 1 << position % 8
        try:
            loaded = MLP.load(path)
        except ValueError as error:
            outcomes.add(str(error)[:28])
        else:  # bits that ZIP does not use, such as time stamps
            assert [p.tobytes() for p in loaded.parameters()] == expected
            outcomes.add("harmless")
    assert outcomes == {"fastnn.load: argument 'path'", "harmless"}


@pytest.mark.parametrize("content", [b"", b"PK", b"not a net at all\n" * 20, b"\x93NUMPY" + b"\0" * 200, os.urandom(500)])
def test_foreign_bytes_are_answered(path, content):
    path.write_bytes(content)
    fails(path)


def test_a_foreign_npz_is_answered(path):
    np.savez(path, a=np.ones(3))
    fails(path, "header")


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_pickles_are_never_run(path):
    path.write_bytes(pickle.dumps(Bomb()))
    fails(path)
    np.savez(path, header=np.array([Bomb()], dtype=object), allow_pickle=True)
    fails(path)
    rewrite(path, {}, {"layers.0.weight": np.array([[Bomb()] * 6] * 4, dtype=object)})
    fails(path, "layers.0.weight")
    assert not Bomb.exploded


def rewrite(path, header_changes, arrays=()):
    """A file like that of `net()` with some parts of the header and some arrays replaced."""
    net().save(path)
    with np.load(path) as file:
        content = dict(file)
    header = json.loads(content["header"].tobytes())
    for key, value in header_changes.items():
        part = header
        *parents, last = key.split(".")
        for parent in parents:
            part = part[parent]
        part[last] = value
    content["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    content.update(arrays)
    np.savez(path, **content)


SCALER = {"kind": "standardizer", "axis": "feature", "mean": [0.0] * 4, "std": [1.0] * 4}


def test_the_helper_below_leaves_a_good_file_good(path):
    rewrite(path, {"preprocessing": SCALER})
    assert fastnn.load(path)[0].sizes == (4, 6, 3)


@pytest.mark.parametrize("change", [
    {"format": "other"}, {"version": 2}, {"model": None}, {"model": {}}, {"model.sizes": [4, 6, 2]}, {"model.sizes": [4]},
    {"model.sizes": "46"}, {"model.sizes": [4, -6, 3]}, {"model.sizes": [4, 6.0, 3]}, {"model.sizes": [4, 10**12, 3]},
    {"model.sizes": [4, 6, 3, 3]}, {"model.dtype": "float64"}, {"model.dtype": "object"}, {"model.activation": "gelu"},
    {"model.keep_prob": [0.5]}, {"model.seed": -1},
    {"preprocessing": 3}, {"preprocessing": {**SCALER, "mean": [0.0], "std": [1.0]}}, {"preprocessing": {**SCALER, "std": [0.0] * 4}},
    {"preprocessing": {"kind": "other"}}, {"preprocessing": {**SCALER, "axis": "global", "mean": [0.0], "std": [1.0], "inputs": 2**31 - 1}},
    {"preprocessing": {**SCALER, "seen": {"rows": 3}}}, {"preprocessing": {**SCALER, "divide": "yes"}},
    {"model.extra": 1}, {"loss": {"name": "mse"}}, {"loss": {"name": "hinge", "margin": -1}}, {"loss": 3}, {"metadata": [1]},
], ids=str)
def test_headers_that_lie_are_answered(path, change):
    rewrite(path, change)
    fails(path)


@pytest.mark.parametrize(("name", "array"), [
    ("layers.0.weight", np.zeros((6, 4), np.float32)), ("layers.0.weight", np.zeros((4, 6), np.float64)),
    ("layers.1.bias", np.zeros(4, np.float32)), ("layers.0.weight", np.zeros((4, 6), np.float32, order="F")),
    ("layers.0.weight", np.zeros((4, 6), ">f4")),
    ("header", np.zeros(5, np.float32)),
], ids=lambda value: value if isinstance(value, str) else f"{value.shape}{value.dtype}")
def test_arrays_that_do_not_fit_are_answered(path, name, array):
    rewrite(path, {}, {name: array})
    fails(path, name)


def test_an_array_that_is_too_large_is_not_unpacked(path):
    rewrite(path, {}, {"layers.0.weight": np.zeros(10**5, np.float32)})
    fails(path, "layers.0.weight takes 400128 bytes, more than the 4192 it may")


def test_the_answer_is_one_line_where_the_reason_has_more(path):
    rewrite(path, {}, {"header": np.zeros(1, [("f" * 50_000, "u1")])})
    fails(path, "Header info length")


def test_an_array_header_that_claims_too_much_allocates_nothing(path):
    rewrite(path, {})
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**15, 6)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["layers.0.weight.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    fails(path, "layers.0.weight")


def test_deeply_nested_json_is_answered(path):
    rewrite(path, {}, {"header": np.frombuffer(b"[" * 200_000, np.uint8)})
    fails(path)


def test_a_missing_file_and_an_unknown_suffix_are_answered(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^fastnn.load: argument 'path' must name a file .*no file '.*net.npz'"):
        fastnn.load(tmp_path / "net.npz")
    for call in (lambda: fastnn.load("net.pkl"), lambda: net().save("net.pt")):
        with pytest.raises(ValueError, match=r"argument 'path' must name a format .*ending in .npz or .safetensors"):
            call()


# --- saving --------------------------------------------------------------------------------------------------------------------------


def test_metadata_must_be_json(path):
    with pytest.raises(TypeError, match=r"fastnn.save: argument 'metadata' must be JSON-able"):
        net().save(path, {"a": np.ones(3)})
    assert not path.exists()


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(path, monkeypatch, failing, error):
    old = net()
    old.save(path)
    content = path.read_bytes()

    def fail(*args):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)):
        net(seed=1).save(path)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_a_replaced_file_keeps_its_mode_and_a_new_one_follows_the_umask(path, tmp_path):
    net().save(path)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    net().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_keeps_pointing(path, tmp_path):
    link = tmp_path / "link.npz"
    net().save(path)
    link.symlink_to(path)
    net(seed=1).save(link)
    assert link.is_symlink()
    assert MLP.load(path).seed == 1
