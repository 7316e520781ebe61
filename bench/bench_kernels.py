"""Every kernel of the public face at a few sizes."""

from __future__ import annotations

import pytest
from cases import kernel_cases
from peers.client import clock


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def bench_kernel(run, case, peer):
    run(case, peer)
