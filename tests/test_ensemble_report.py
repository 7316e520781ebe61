"""What an ensemble's report says, against values worked out here in NumPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import L2, MLP, Ensemble, Hinge, SoftmaxCrossEntropy

RNG = np.random.default_rng(23)
X = RNG.normal(size=(90, 6)).astype(np.float32) * 2 + 1
LABELS = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)
REAL = (X @ RNG.normal(size=(6, 3))).astype(np.float32)


def nets(count=3, loss=None):
    made = [MLP((6, 8 + k, 3), seed=k) for k in range(count)]
    for net in made:
        net.loss = SoftmaxCrossEntropy() if loss is None else loss
    return made


def softmax(scores):
    e = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def constant(*scores, loss=None):
    """A net with the same scores for every row."""
    net = MLP((1, len(scores)))
    net.layers[0].weight[...], net.layers[0].bias[...] = 0, scores
    net.loss = SoftmaxCrossEntropy() if loss is None else loss
    return net


def test_the_report_of_classes_by_hand():
    members = [constant(0.0, 2.0), constant(1.0, 0.0), constant(0.0, 0.5)]
    report = Ensemble(members).report(np.zeros((4, 1)), np.array([1, 1, 1, 0]))
    p = [1 / (1 + np.exp(-difference)) for difference in (2.0, -1.0, 0.5)]  # of class 1
    losses = [-(3 * np.log(q) + np.log(1 - q)) / 4 for q in (*p, np.mean(p))]
    assert [member["loss"] for member in report.members] == pytest.approx(losses[:3], rel=1e-7)
    assert [member["accuracy"] for member in report.members] == [0.75, 0.25, 0.75]
    assert report.ensemble == pytest.approx({"loss": losses[3], "accuracy": 0.75}, rel=1e-7)
    assert report.mean_member == pytest.approx({"loss": np.mean(losses[:3]), "accuracy": 1.75 / 3}, rel=1e-7)
    assert report.best_member == report.members[0]
    assert report.gain == pytest.approx({"loss": np.mean(losses[:3]) - losses[3], "accuracy": 0.75 - 1.75 / 3}, rel=1e-6)
    assert report.gain_over_best == pytest.approx({"loss": losses[0] - losses[3], "accuracy": 0.0}, rel=1e-6)
    assert report.disagreement == pytest.approx(2 / 3)  # two of three pairs, on every row
    assert report.ambiguity is None
    assert report.judged == "accuracy"
    pairs = [np.mean(each) > 0.5 for each in ((p[0], p[1]), (p[1], p[2]), (p[2], p[0]))]
    assert report.curve == pytest.approx([1.75 / 3, np.mean([0.75 if pair else 0.25 for pair in pairs]), 0.75])
    assert report.rows == 4
    assert str(report).splitlines() == [
        "                              loss  accuracy, %",
        f"member 1                    {losses[0]:.4f}        75.00",
        f"member 2                    {losses[1]:.4f}        25.00",
        f"member 3                    {losses[2]:.4f}        75.00",
        f"mean member                 {np.mean(losses[:3]):.4f}        58.33",
        f"best member                 {losses[0]:.4f}        75.00",
        f"ensemble                    {losses[3]:.4f}        75.00",
        f"gain over the mean member  {np.mean(losses[:3]) - losses[3]:+.4f}       +16.67",
        f"gain over the best member  {losses[0] - losses[3]:+.4f}        +0.00",
        "two members disagree on 66.67% of 4 rows",
    ]


def test_the_report_of_amounts_by_hand():
    """Krogh and Vedelsby: the ensemble's loss is the members' mean loss less their ambiguity."""
    members = nets(4, L2())
    report = Ensemble(members).report(X, REAL)
    predictions = np.array([net.forward(X).astype(np.float64) for net in members])
    errors = np.square(predictions - REAL)
    assert [member["loss"] for member in report.members] == pytest.approx(0.5 * errors.sum(axis=2).mean(axis=1), rel=1e-12)
    assert [member["rmse"] for member in report.members] == pytest.approx(np.sqrt(errors.mean(axis=(1, 2))), rel=1e-12)
    mean = predictions.mean(axis=0)
    assert report.ensemble["loss"] == pytest.approx(0.5 * np.square(mean - REAL).sum(axis=1).mean(), rel=1e-12)
    assert report.ambiguity == pytest.approx(0.5 * np.square(predictions - mean).sum(axis=2).mean(), rel=1e-12)
    assert report.gain["loss"] == pytest.approx(report.ambiguity, rel=1e-12)
    assert report.ambiguity > 0.1
    best = min(report.members, key=lambda member: member["rmse"])
    assert report.best_member == best
    assert report.gain_over_best["rmse"] == pytest.approx(best["rmse"] - report.ensemble["rmse"], rel=1e-9)
    assert report.disagreement is None
    assert report.judged == "rmse"
    assert str(report).splitlines()[-1] == (
        f"ambiguity {report.ambiguity:.4g}: the members' mean loss less the ensemble's, on 90 rows")


def test_the_curve_goes_from_the_mean_member_to_the_ensemble():
    report = Ensemble(nets(8)).report(X, LABELS)
    assert report.curve[0] == pytest.approx(report.mean_member["accuracy"], rel=1e-12)
    assert report.curve[-1] == pytest.approx(report.ensemble["accuracy"], rel=1e-12)
    assert len(report.curve) == 8
    many = Ensemble([*nets(8), *nets(17)[8:]]).report(X, LABELS)
    assert len(many.curve) == len(many.members) == 17
    assert many.curve[-1] == pytest.approx(many.ensemble["accuracy"], rel=1e-12)
    firsts = [many.members[k]["accuracy"] for k in (0, 1, 3, 5, 6, 8, 10, 11, 13, 15)]
    assert many.curve[0] == pytest.approx(np.mean(firsts), rel=1e-12)


def test_disagreement_is_a_share_of_pairs_and_rows():
    members = nets(4, Hinge())
    report = Ensemble(members).report(X, LABELS)
    classes = [net.predict(X) for net in members]
    pairs = [(classes[a] != classes[b]).mean() for a in range(4) for b in range(a)]
    assert len(pairs) == 6
    assert report.disagreement == pytest.approx(np.mean(pairs), rel=1e-12)
    assert 0.1 < report.disagreement < 0.9


def test_probabilities_as_targets_and_one_member():
    soft = RNG.dirichlet(np.ones(3), 90).astype(np.float32)
    (net,) = nets(1)
    report = Ensemble([net]).report(X, soft)
    log_p = np.log(softmax(net.forward(X)))
    assert report.ensemble["loss"] == pytest.approx(-(soft * log_p).sum(axis=1).mean(), rel=1e-6)
    assert report.ensemble == pytest.approx(report.mean_member, rel=1e-9)
    assert report.disagreement == 0.0


def test_a_loss_of_ones_own_is_reported():
    class Absolute:
        def value_and_gradient(self, scores, y, sample_weight=None):
            return float(np.abs(scores - y).mean()), np.sign(scores - y) / scores.size

        def predict(self, scores):
            return scores

    members = nets(2)
    for net in members:
        net.loss = Absolute()
    report = Ensemble(members).report(X, REAL)
    mean = np.mean([net.forward(X).astype(np.float64) for net in members], axis=0)
    assert report.ensemble == {"loss": pytest.approx(np.abs(mean - REAL).mean(), rel=1e-12)}
    assert report.judged == "loss"
    assert report.curve[-1] == report.ensemble["loss"]
    assert report.best_member["loss"] == min(member["loss"] for member in report.members)
    assert report.disagreement is report.ambiguity is None


@pytest.mark.parametrize(("x", "y", "match"), [(X[:0], LABELS[:0], "'x' must have at least one row"), (X, LABELS[:5], "'y'"),
                                               (X, LABELS + 1, "'y'"), (X[:, :2], LABELS, "'x'")])  # fmt: skip
def test_rows_that_cannot_be_reported_on(x, y, match):
    with pytest.raises((TypeError, ValueError), match=match):
        Ensemble(nets()).report(x, y)


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    report = Ensemble(nets(5)).report(X, LABELS)
    figure = report.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    (axes,) = figure.axes
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert line.get_ydata().tolist() == list(report.curve)
    assert axes.collections[0].get_offsets().tolist() == [[1.0, member["accuracy"]] for member in report.members]
    assert axes.get_ylabel() == "accuracy on 90 rows"
    assert len(Ensemble(nets(24)).report(X, LABELS).plot().axes[0].get_xticks()) == 12
