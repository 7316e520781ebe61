"""threadpoolctl finds fastnn and limits it, whichever is imported first."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import threadpoolctl
from processes import output

from fastnn import _config, _core, ops

LIMIT = """
info = [entry for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "fastnn"]
assert len(info) == 1 and info[0]["num_threads"] == 2, info
with threadpoolctl.threadpool_limits(1):
    assert _config.get_num_threads() == 1
assert _config.get_num_threads() == 2
with threadpoolctl.threadpool_limits(1, user_api="blas"):
    assert _config.get_num_threads() == 2
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("fastnn")]
print("limited")
"""


@pytest.mark.parametrize("order", ["fastnn, threadpoolctl", "threadpoolctl, fastnn"])
def test_limits_in_either_order_of_import(order):
    code = f"import sys\nimport {order}\nfrom fastnn import _config\n{LIMIT}"
    assert output("-c", code, FASTNN_NUM_THREADS="2") == "limited"


def test_threadpoolctl_that_is_not_installed_stays_so():
    code = (
        "import sys, fastnn\n"
        "class Nowhere:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'threadpoolctl': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(1, Nowhere())\n"
        "try:\n    import threadpoolctl\nexcept ModuleNotFoundError:\n    print('absent')"
    )
    assert output("-c", code) == "absent"


def test_another_module_of_the_same_file_name_is_not_taken_for_ours(tmp_path):
    """Found by file name, a foreign `_core` would be listed as fastnn."""
    foreign = tmp_path / _core.__file__.rpartition("/")[2]
    shutil.copy(_core.__file__, foreign)
    code = (
        f"import ctypes, sys, fastnn, threadpoolctl\nctypes.CDLL({str(foreign)!r})\n"
        "print(*[entry['filepath'] for entry in threadpoolctl.threadpool_info() if entry['user_api'] == 'fastnn'])"
    )
    assert output("-c", code).split() == [_core.__file__]


def test_results_have_the_same_bits_under_a_limit():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((300, 200)), rng.standard_normal((200, 100))
    _config.set_num_threads(4)
    try:
        free = ops.linear_forward(x, w)
        with threadpoolctl.threadpool_limits(1):
            assert _config.get_num_threads() == 1
            np.testing.assert_array_equal(ops.linear_forward(x, w), free)
        assert _config.get_num_threads() == 4
    finally:
        _config.set_num_threads(None)
