"""scikit-learn's `RandomizedSearchCV` over its `MLPClassifier`, with the configurations, epochs and folds that it is told, in a process of
its own: one request of JSON on standard input, one answer on standard output.

`{"trials": [{"learning_rate", "weight_decay", "width"}, ...], "epochs", "batch", "folds", "n_jobs", "rounds"}` -> `{"seconds": [...],
"best": mean accuracy}`. The rows are the embedded digits, standardised. A small search comes first, so that starting the processes of
`n_jobs` is not timed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from fastnn.datasets import load_digits


def search(request: dict[str, Any], trials: list[dict[str, Any]], x: np.ndarray, y: np.ndarray) -> RandomizedSearchCV:
    """All of `trials`: distributions of one value each are drawn without replacement."""
    epochs = request["epochs"]
    net = MLPClassifier(solver="adam", batch_size=request["batch"], max_iter=epochs, tol=0.0, n_iter_no_change=epochs + 1, random_state=0)
    names = {"learning_rate_init": "learning_rate", "alpha": "weight_decay", "hidden_layer_sizes": "width"}
    settings = [{theirs: [trial[ours]] for theirs, ours in names.items()} for trial in trials]
    folds = StratifiedKFold(request["folds"], shuffle=True, random_state=0)
    return RandomizedSearchCV(net, settings, n_iter=len(trials), cv=folds, n_jobs=request["n_jobs"], refit=False, random_state=0).fit(x, y)


def main() -> None:
    request = json.loads(sys.stdin.readline())
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = load_digits()
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    search({**request, "epochs": 1}, request["trials"][:2], x, y)
    taken, best = [], 0.0
    for _ in range(request["rounds"]):
        start = time.perf_counter()
        found = search(request, request["trials"], x, y)
        taken.append(time.perf_counter() - start)
        best = float(found.best_score_)
    print(json.dumps({"seconds": taken, "best": best}))


if __name__ == "__main__":
    main()
