from __future__ import annotations

import copy

import numpy as np
import pytest
from numeric import gradient, relative_error

import fastnn
from fastnn import MLP, Hinge, MinMaxScaler, Standardizer, Trainer, arrays, model
from fastnn.backend import kernels

RNG = np.random.default_rng(23)
X = RNG.normal(size=(9, 5))
LABELS = RNG.integers(0, 3, 9)
REAL = RNG.normal(size=(9, 3))
WEIGHT = RNG.uniform(0.5, 2.0, 9)


def net(activation="relu", **kwargs):
    made = MLP((5, 7, 6, 3), activation=activation, **{"dtype": "float64", "seed": 2, **kwargs})
    for layer in made.layers:
        layer.bias[...] = RNG.normal(size=layer.bias.shape)
    return made


# --- the whole network ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [None, (3, 40)], ids=["plain", "dropout"])
@pytest.mark.parametrize(("loss", "y"), [("softmax_cross_entropy", LABELS), ("l2", REAL), ("hinge", LABELS)])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "linear"])
def test_gradients_by_centered_differences(activation, loss, y, dropout):
    made = net(activation, keep_prob=(0.9, 0.8, 0.7))

    def f():
        return made.loss_and_gradients(X, y, loss=loss, sample_weight=WEIGHT, weight_decay=0.3, dropout=dropout)[0]

    _, gradients = made.loss_and_gradients(X, y, loss=loss, sample_weight=WEIGHT, weight_decay=0.3, dropout=dropout)
    tolerance = 1e-5 if "relu" in activation or loss == "hinge" else 1e-7
    assert len(gradients) == 6
    for analytic, parameter in zip(gradients, made.parameters()):
        assert analytic.shape == parameter.shape
        assert relative_error(analytic, gradient(f, parameter)) <= tolerance


def test_scores_are_the_composition_of_the_layers():
    made = net("tanh")
    (w0, b0, w1, b1, w2, b2) = made.parameters()
    assert made.forward(X) == pytest.approx(np.tanh(np.tanh(X @ w0 + b0) @ w1 + b1) @ w2 + b2, rel=1e-12)


def test_dropout_masks_come_from_the_streams_that_are_documented():
    made = net("tanh", keep_prob=(0.5, 0.6, 0.7))
    w0, b0, w1, b1, w2, b2 = made.parameters()
    h = kernels.dropout_forward(X, 0.5, seed=8, stream=30)
    h = kernels.dropout_forward(np.tanh(h @ w0 + b0), 0.6, seed=8, stream=31)
    h = kernels.dropout_forward(np.tanh(h @ w1 + b1), 0.7, seed=8, stream=32)
    expected, _ = kernels.l2_loss(h @ w2 + b2, REAL)
    assert made.loss_and_gradients(X, REAL, loss="l2", dropout=(8, 30))[0] == pytest.approx(expected, rel=1e-12)
    assert made.loss_and_gradients(X, REAL, loss="l2")[0] != pytest.approx(expected, rel=1e-3)


def test_weight_decay_is_of_weights_only():
    made = net()
    plain, g0 = made.loss_and_gradients(X, LABELS)
    decayed, g1 = made.loss_and_gradients(X, LABELS, weight_decay=0.5)
    assert decayed - plain == pytest.approx(0.25 * sum((layer.weight**2).sum() for layer in made.layers))
    for k, layer in enumerate(made.layers):
        assert g1[2 * k] - g0[2 * k] == pytest.approx(0.5 * layer.weight)
        assert np.array_equal(g1[2 * k + 1], g0[2 * k + 1])


def test_sample_weight_counts_as_repetition_and_zero_as_absence():
    made = net()
    weight = np.array([2, 0, 1, 3, 0, 1, 1, 2, 1])
    repeated = np.repeat(np.arange(9), weight)
    weighted = made.loss_and_gradients(X, LABELS, sample_weight=weight)[1]
    copied = made.loss_and_gradients(X[repeated], LABELS[repeated])[1]
    for a, b in zip(weighted, copied):
        assert a == pytest.approx(b, rel=1e-10, abs=1e-14)


# --- inputs --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64", ">f8", "bool"])
def test_inputs_of_any_real_dtype_are_converted_not_scaled(dtype):
    made = net(dtype="float32")
    x = RNG.integers(0, 2 if dtype == "bool" else 200, (9, 5)).astype(dtype)
    scores = made.forward(x)
    assert scores.dtype == np.float32
    assert np.array_equal(scores, made.forward(x.astype(np.float32)))
    loss, gradients = made.loss_and_gradients(x, LABELS)
    assert loss == made.loss_and_gradients(x.astype(np.float32), LABELS)[0]
    assert {g.dtype.name for g in gradients} == {"float32"}


@pytest.mark.parametrize("layout", [
    np.ndarray.tolist, np.asfortranarray, lambda x: x[::-1].copy()[::-1], lambda x: np.repeat(x, 2, axis=1)[:, ::2],
], ids=["list", "F", "backwards", "strided"])
def test_inputs_of_any_layout(layout):
    made = net()
    x = layout(X)
    assert made.forward(x) == pytest.approx(made.forward(X), rel=1e-12)


def test_inputs_are_copied_only_to_be_converted():
    single = X.astype(np.float32)
    assert arrays.inputs("f", single, 5, np.float32) is single
    assert arrays.inputs("f", single > 0, 5, np.float32).dtype == np.float32
    pixels = RNG.integers(0, 256, (9, 5), dtype=np.uint8)
    assert arrays.inputs("f", pixels, 5, np.float32) is pixels
    assert net()._batch(np.asfortranarray(pixels)).flags.c_contiguous
    assert net()._batch(X) is X


def test_the_input_is_never_written_to():
    x = X.copy()
    x.setflags(write=False)
    made = net("sigmoid", keep_prob=(0.5, 0.5, 0.5))
    made.forward(x)
    made.loss_and_gradients(x, LABELS, dropout=(1, 2))
    assert np.array_equal(x, X)


@pytest.mark.parametrize(("x", "kind", "sentence"), [
    (X[0], ValueError, r"'x' must have shape \(n, 5\) \(expected shape \(n, 5\), got \(5,\) float64\)"),
    (X[:, :4], ValueError, r"'x' must have shape \(n, 5\) .*got \(9, 4\) float64"),
    (np.array([[None] * 5]), TypeError, r"'x' must be an array of numbers .*got \(1, 5\) object"),
    (X.astype(complex), TypeError, "'x' must be an array of numbers"),
    (np.ma.array(X), TypeError, "'x' must not be a masked array"),
    ("abc", TypeError, "'x' must be an array of numbers"),
])
def test_bad_inputs_are_answered(x, kind, sentence):
    made = net()
    with pytest.raises(kind, match=rf"^fastnn\.MLP.forward: argument {sentence}"):
        made.forward(x)
    with pytest.raises(kind, match=rf"^fastnn\.MLP.loss_and_gradients: argument {sentence}"):
        made.loss_and_gradients(x, LABELS)


@pytest.mark.parametrize(("weight", "kind"), [
    (-WEIGHT, ValueError), (WEIGHT[:3], ValueError), (WEIGHT * np.nan, ValueError), (["a"] * 9, TypeError),
])
def test_bad_sample_weights_are_answered(weight, kind):
    with pytest.raises(kind, match="argument 'sample_weight' must"):
        net().loss_and_gradients(X, LABELS, sample_weight=weight)


def test_blocks_of_rows_do_not_change_scores(monkeypatch):
    made = net()
    x = RNG.normal(size=(1000, 5))
    whole = made.forward(x)
    monkeypatch.setattr(model, "_CHUNK_ELEMENTS", 1)
    assert made.forward(x) == pytest.approx(whole, rel=1e-12)
    assert made.forward(x[:0]).shape == (0, 3)


# --- predictions ---------------------------------------------------------------------------------------------------------------------


def test_predict_reads_the_scores_by_the_loss():
    made = net()
    scores = made.forward(X)
    assert np.array_equal(made.predict(X), scores.argmax(axis=1))
    p = made.predict_proba(X)
    assert p == pytest.approx(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
    made.loss = fastnn.L2()
    assert np.array_equal(made.predict(X), scores)
    made.loss = None
    with pytest.raises(ValueError, match=r"MLP.predict: argument 'net.loss' must be set"):
        made.predict(X)


@pytest.mark.parametrize("loss", [Hinge(), fastnn.L2(), None])
def test_only_softmax_gives_probabilities(loss):
    made = net()
    made.loss = loss
    with pytest.raises(ValueError, match=r"MLP.predict_proba: argument 'net.loss' must give probabilities"):
        made.predict_proba(X)


# --- construction --------------------------------------------------------------------------------------------------------------------


def test_weights_come_from_the_seed_and_biases_are_0():
    made = MLP((300, 200, 10), seed=4)
    assert np.array_equal(made.layers[0].weight, MLP((300, 200, 10), seed=4).layers[0].weight)
    assert not np.array_equal(made.layers[0].weight, MLP((300, 200, 10), seed=5).layers[0].weight)
    assert made.layers[0].weight.var() == pytest.approx(2 / 300, rel=0.05)
    assert MLP((300, 200, 10), init="lecun_normal").layers[0].weight.var() == pytest.approx(1 / 300, rel=0.05)
    assert not any(layer.bias.any() for layer in made.layers)
    assert [layer.activation for layer in MLP((2, 3, 4, 5), activation="tanh").layers] == ["tanh", "tanh", "linear"]


def test_no_seed_draws_one_that_is_kept():
    a, b = MLP((3, 2), seed=None), MLP((3, 2), seed=None)
    assert a.seed != b.seed
    assert np.array_equal(MLP((3, 2), seed=a.seed).layers[0].weight, a.layers[0].weight)


def test_parameters_are_the_arrays_themselves():
    made = MLP((3, 4, 2))
    made.layers[1].bias[...] = 7
    w0, b0, w1, b1 = made.parameters()
    assert b1.tolist() == [7, 7]
    assert [a.shape for a in (w0, b0, w1, b1)] == [(3, 4), (4,), (4, 2), (2,)]
    assert w0 is made.layers[0].weight


def test_keep_prob_of_a_number_is_of_hidden_layers():
    assert MLP((3, 4, 5, 2), keep_prob=0.5).keep_prob == (1.0, 0.5, 0.5)
    assert MLP((3, 4, 2), keep_prob=(0.8, 0.5)).keep_prob == (0.8, 0.5)
    assert MLP((3, 2), keep_prob=(0.8,)).keep_prob == (0.8,)


def test_it_prints_as_the_call_that_makes_it():
    made = MLP([3, 4, 2], activation="tanh", keep_prob=0.5, init="glorot_uniform", dtype=np.float64, seed=9)
    text = "MLP((3, 4, 2), activation='tanh', keep_prob=(1.0, 0.5), init='glorot_uniform', dtype='float64', seed=9)"
    assert repr(made) == text
    again = MLP(**made.config())
    assert repr(again) == text
    assert np.array_equal(again.layers[0].weight, made.layers[0].weight)


def test_summary_counts_parameters():
    lines = MLP((784, 100, 10), keep_prob=(0.8, 0.5)).summary().splitlines()
    assert lines[0].split() == ["layer", "shape", "activation", "keep_prob", "of", "input", "parameters"]
    assert lines[1].split() == ["0", "784", "->", "100", "relu", "0.8", "78,500"]
    assert lines[2].split() == ["1", "100", "->", "10", "linear", "0.5", "1,010"]
    assert lines[3].split() == ["total", "float32", "79,510"]


def test_astype_and_deepcopy_are_independent():
    made = net(dtype="float32")
    made.loss = Hinge(2.0)
    for other in (made.astype("float64"), copy.deepcopy(made)):
        assert other.loss == Hinge(2.0)
        assert other.forward(X) == pytest.approx(made.forward(X), rel=1e-4)
        other.layers[0].weight[...] = 0
        assert made.layers[0].weight.all()
    assert made.astype("float64").layers[0].weight.dtype == np.float64


SCALERS = [Standardizer(), Standardizer("global", divide=False), MinMaxScaler(0, 1)]


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@pytest.mark.parametrize(("dtype", "rounding"), [("float64", 1e-12), ("float32", 2e-4)])
def test_preprocessing_is_folded_into_the_first_layer(scaler, dtype, rounding):
    x = X * [1, 20, 0.05, 3, 1] + [0, 100, 5, 0, 1]
    made = net(dtype=dtype, keep_prob=(0.5, 1.0, 1.0))
    made.loss, made.preprocessing = Hinge(2.0), scaler.fresh().fit(x)
    before = [array.copy() for array in made.parameters()]
    folded = made.fold_preprocessing()
    assert folded.preprocessing is None
    assert (repr(folded), folded.loss) == (repr(made), Hinge(2.0))
    assert folded.forward(x) == pytest.approx(made.forward(x), abs=rounding * float(np.abs(made.forward(x)).max()))
    assert all(np.array_equal(a, b) for a, b in zip(before, made.parameters()))
    assert np.abs(folded.layers[0].weight - made.layers[0].weight).max() > 1e-3 or not getattr(scaler, "divide", True)
    assert all(np.array_equal(a, b) and a is not b for a, b in zip(before[2:], folded.parameters()[2:]))


def test_a_net_without_preprocessing_is_folded_into_a_copy():
    made = net()
    folded = made.fold_preprocessing()
    assert all(np.array_equal(a, b) and a is not b for a, b in zip(made.parameters(), folded.parameters()))


def test_a_trainer_goes_on_with_the_net_that_was_folded():
    made = net()
    alone = copy.deepcopy(made)
    trainers = [Trainer(each, preprocessing=Standardizer()) for each in (made, alone)]
    trainers[0].epoch(X, LABELS)
    made.fold_preprocessing()
    trainers[0].epoch(X, LABELS)
    for _ in range(2):
        trainers[1].epoch(X, LABELS)
    assert all(np.array_equal(a, b) for a, b in zip(made.parameters(), alone.parameters()))


def test_folded_weights_that_overflow_are_answered():
    made = MLP((1, 2))
    made.layers[0].weight[...] = 1e3
    made.preprocessing = Standardizer().fit([[0.0], [1e-36]])
    with pytest.raises(ValueError, match=r"^fastnn\.MLP\.fold_preprocessing: argument 'self.dtype' must hold the folded weights"):
        made.fold_preprocessing()


@pytest.mark.parametrize(("call", "kind", "sentence"), [
    (lambda: MLP((3,)), ValueError, "'sizes' must name inputs and outputs"),
    (lambda: MLP((3, 0, 2)), ValueError, "'sizes' must be in range"),
    (lambda: MLP((3, 2.5)), TypeError, "'sizes' must be an integer"),
    (lambda: MLP(3), TypeError, "'sizes' must be a sequence of layer sizes"),
    (lambda: MLP("12"), TypeError, "'sizes' must be a sequence of layer sizes"),
    (lambda: MLP((3, 2), activation="gelu"), ValueError, "'activation' must name an activation .*relu, leaky_relu, tanh, sigmoid, linear"),
    (lambda: MLP((3, 2), activation=np.tanh), ValueError, "'activation' must name an activation"),
    (lambda: MLP((3, 4, 2), keep_prob=0.0), ValueError, "'keep_prob' must be finite and in range"),
    (lambda: MLP((3, 4, 2), keep_prob=(0.5, 0.5, 0.5)), ValueError, "'keep_prob' must have one value a weight layer"),
    (lambda: MLP((3, 2), keep_prob=0.5), ValueError, "'keep_prob' must have a hidden layer to act on"),
    (lambda: MLP((3, 2), dtype="float16"), ValueError, "'dtype' must be a float type"),
    (lambda: MLP((3, 2), seed=-1), ValueError, "'seed' must be in range"),
    (lambda: MLP((3, 2), init="zeros"), ValueError, "'init' must name an initialiser"),
])
def test_bad_arguments_are_answered(call, kind, sentence):
    with pytest.raises(kind, match=rf"^fastnn\.MLP: argument {sentence}"):
        call()


def test_from_parameters_checks_shapes_and_copies():
    given = [np.asfortranarray(np.ones((3, 2), np.float32)), np.zeros(2, np.float32)]
    made = MLP.from_parameters(given, (3, 2))
    given[0][...] = 5
    assert made.layers[0].weight.tolist() == [[1, 1]] * 3
    assert made.layers[0].weight.flags.c_contiguous
    with pytest.raises(ValueError, match=r"'parameters' must have the shapes of the layers .*\(3, 2\), \(2,\), got \(2, 3\), \(2,\)"):
        MLP.from_parameters([np.ones((2, 3)), np.zeros(2)], (3, 2))
