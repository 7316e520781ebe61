"""One training step with Adam: forward, loss, backward, update."""

from __future__ import annotations

import pytest
from cases import step_cases
from peers.client import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("case", step_cases(), ids=str)
def bench_training_step(run, case, peer):
    run(case, peer)
