"""The extension module only: sources, flags and build switches. Everything else is in pyproject.toml.

Build switches (environment): FASTNN_SANITIZE=address,undefined|thread, FASTNN_COVERAGE=1, FASTNN_DEBUG=1.
No flag names a CPU: files for one instruction set carry their own target pragma, so one binary runs on any CPU of its family.
"""

import os
import platform
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

LIMITED_API = "0x030B0000"  # CPython 3.11: the first whose stable ABI has the buffer protocol

sanitize, coverage, debug = (os.environ.get(name, "") for name in ("FASTNN_SANITIZE", "FASTNN_COVERAGE", "FASTNN_DEBUG"))
instrumented = bool(sanitize or coverage or debug)
stable_abi = not coverage and not sysconfig.get_config_var("Py_GIL_DISABLED")

# GCC or Clang: the templates use their vector types. On Windows that means clang-cl, which nobody has tried.
compile_args = [
    "-std=c11",
    "-O1" if sanitize or debug else "-O3",
    "-g" if instrumented else "-g0",
    # Elementwise kernels promise the bits of their NumPy twin: no contraction into fused multiply-add behind our back.
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
]
link_args = ["-Wl,-z,relro,-z,now,-z,noexecstack"] if platform.system() == "Linux" else []
if platform.system() == "Linux" and not instrumented:
    link_args.append("-Wl,-s")
if sanitize:
    compile_args += [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    link_args += [f"-fsanitize={sanitize}"]
if coverage:
    compile_args += ["--coverage"]
    link_args += ["--coverage"]

core = Extension(
    "fastnn._core",
    sources=["fastnn/_core.pyx", *sorted(str(path) for path in Path("csrc").glob("*.c"))],
    depends=[str(path) for folder, kind in (("fastnn", "*.pxi"), ("csrc", "*.h"), ("csrc/templates", "*.h"))
             for path in Path(folder).glob(kind)],
    include_dirs=["csrc"],
    define_macros=[("Py_LIMITED_API", LIMITED_API)] if stable_abi else [],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    libraries=["m"],
    py_limited_api=stable_abi,
)

setup(
    ext_modules=cythonize(
        [core],
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": False,
            "freethreading_compatible": True,
        },
    ),
    # One binary for every CPython from 3.11 on: the stable ABI and the buffer protocol, not NumPy's C API.
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if stable_abi else {},
)
