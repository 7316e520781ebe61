"""`threadpoolctl.threadpool_limits(n)` limits the kernels too, whichever of fastnn and threadpoolctl is imported first.

threadpoolctl knows the libraries whose controllers were registered with it, and finds each by the name of a loaded file. Importing it for
that is not ours to do, so unless it is there already a finder waits at the head of `sys.meta_path` for its first import, registers the
controller when that is done, and goes away. The controller calls `set_num_threads`; the compiled module exports nothing for it.
"""

from __future__ import annotations

import sys
from importlib import util
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from . import _core


def announce() -> None:
    """Register with threadpoolctl now, or as soon as it is imported."""
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threadpoolctl is not None:
        _register(threadpoolctl)
    else:
        sys.meta_path.insert(0, _Watch())


class _Watch:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "threadpoolctl":
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register(threadpoolctl: ModuleType) -> None:
    from . import _config

    file = Path(_core.__file__ or "").resolve()

    class FastnnController(threadpoolctl.LibController):  # type: ignore[name-defined]
        user_api = "fastnn"
        internal_api = "fastnn"
        filename_prefixes = (file.name.lower(),)
        check_symbols = (f"PyInit_{file.name.split('.')[0]}",)

        def get_num_threads(self) -> int:
            return _config.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _config.set_num_threads(num_threads)

        def get_version(self) -> str:
            from importlib.metadata import version

            return version("fastnn")

        def set_additional_attributes(self) -> None:
            # Other packages name a module _core as well; a controller without the symbols to check is dropped.
            if Path(self.filepath).resolve() != file:
                self.dynlib = None

    threadpoolctl.register(FastnnController)
