"""One binary for every CPU of a family: the choice of an instruction set, agreement between all of them, and a baseline that is pure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import numpy as np
import pytest
from cases import KERNELS
from processes import last_line_of_error, output
from test_mirror import check_product, same_bits

from fastnn import _core, ops, reference

ROOT = Path(__file__).resolve().parents[1]
USABLE = [name for name, usable in _core.isas().items() if usable]
FUSED = [name for name in USABLE if name != "portable"]
KNOWN = ("portable", "avx2", "avx512", "neon")
UNUSABLE = [name for name in KNOWN if name not in USABLE]


# ---------------------------------------------------------------------------------------------------------------------------------
# The choice


@pytest.mark.parametrize("isa", USABLE)
def test_a_forced_instruction_set_runs_and_says_so(isa):
    code = (
        "import numpy as np, fastnn\n"
        "net = fastnn.MLP((5, 33, 3), seed=0)\n"
        "assert net.forward(np.ones((4, 5), np.float32)).shape == (4, 3)\n"
        "config = fastnn.show_config()\nprint(config['isa'], config['isa chosen by'], sep='|')"
    )
    assert output("-c", code, FASTNN_ISA=isa).splitlines()[-1] == f"{isa}|FASTNN_ISA={isa}"


def test_without_a_word_the_best_is_taken():
    code = "import fastnn\nconfig = fastnn.show_config()\nprint(config['isa'], config['isa chosen by'], sep='|')"
    assert output("-c", code).splitlines()[-1].startswith(f"{USABLE[0]}|this CPU")
    assert output("-c", code, FASTNN_ISA="").splitlines()[-1].startswith(f"{USABLE[0]}|this CPU")


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2,portable", " avx2", "é", *UNUSABLE])
def test_a_wrong_name_is_answered_by_one_sentence(isa):
    assert last_line_of_error("-c", "import fastnn", FASTNN_ISA=isa) == (
        "ImportError: fastnn: environment variable FASTNN_ISA must name an instruction set that this build has and this CPU runs: "
        f"{', '.join(USABLE)} (got {isa!r})"
    )


def test_a_failed_switch_leaves_the_choice():
    before = _core.isa()
    for name in ("sse9", "", *UNUSABLE):
        with pytest.raises(ValueError, match=re.escape(f"got {name!r}")):
            _core.use_isa(name)
        assert _core.isa() == before


# ---------------------------------------------------------------------------------------------------------------------------------
# Agreement


@pytest.fixture
def results():
    """A function that gives the results of a call on every instruction set; arrays changed in place count as results."""

    def every(name: str, given: dict) -> dict[str, tuple]:
        found = {}
        for isa in USABLE:
            _core.use_isa(isa)
            arguments = cases.copied(given)
            got = getattr(ops, cases.public(name))(**arguments)
            found[isa] = (*(got if isinstance(got, tuple) else (got,)), *(arguments[key] for key in KERNELS[name].writes))
        return found

    before = _core.isa()
    yield every
    _core.use_isa(before)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.promise != "product"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_all_but_products_have_the_same_bits(results, name, dtype):
    """Not only where the twin promises bits: tanh, sigmoid, losses and their gradients too. Special values included."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(20)
    sizes = [*kernel.sizes, *([(67, 131)] if kernel.sizes is cases.SCORES else [(4099,)])]
    for size in sizes:
        plain = kernel.make(rng, dtype, size)
        for given in [plain] if "sample_weight" in plain or name.endswith("probabilities") else [plain, cases.sprinkled(rng, plain)]:
            first, *others = results(name, given).values()
            for other in others:
                for a, b in zip(first, other):
                    assert (a is None) == (b is None)
                    if a is not None:
                        same_bits(a, b)


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.promise == "product"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_products_agree(results, name, dtype):
    """Within the bound everywhere; the same bits wherever multiply-adds are fused, since every sum runs over k in order, whatever
    the tiles and blocks."""
    kernel = KERNELS[name]
    rng = np.random.default_rng(21)
    for size in [*kernel.sizes, (12, 2100, 50), (2100, 12, 50), (50, 12, 2100), (70, 90, 300)]:
        given = kernel.make(rng, dtype, size)
        found = results(name, given)
        twin = getattr(reference, cases.public(name))(**given)
        for got in found.values():
            check_product(name, given, got if "backward" in name else got[0], twin)
        for isa in FUSED[1:]:
            for a, b in zip(found[FUSED[0]], found[isa]):
                same_bits(a, b)


# ---------------------------------------------------------------------------------------------------------------------------------
# Purity

VECTOR_EXTENSION = re.compile(r"\s(v[a-z]\w*|k(?:mov|or|and|not|shift|test|unpck|x?n?or)\w*)\s|%[yz]mm")
BASELINE_V = {"verr", "verw", "vmcall"}


def stray_instructions(disassembly: str) -> list[str]:
    """`function: instruction` for each AVX or AVX-512 instruction outside the functions whose names end in their instruction set."""
    found, function = [], ""
    for line in disassembly.splitlines():
        start = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if start:
            function = start.group(1)
        elif VECTOR_EXTENSION.search(line + " ") and not re.search(r"_avx(2|512)(\.\w+)*$", function):
            instruction = line.split("\t")[-1].strip()
            if instruction.split()[0] not in BASELINE_V:
                found.append(f"{function}: {instruction}")
    return found


def disassembly(sources: list[Path], folder: Path) -> str:
    """What the compiler makes of the sources with the flags of setup.py."""
    flags = ["-std=c11", "-O3", "-g0", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", f"-I{ROOT / 'csrc'}"]
    objects = [folder / f"{unit.stem}.o" for unit in sources]
    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        commands = [["cc", *flags, "-c", unit, "-o", made] for unit, made in zip(sources, objects)]
        list(compilers.map(lambda command: subprocess.run(command, check=True, capture_output=True), commands))
    return subprocess.run(["objdump", "-d", "--no-show-raw-insn", *objects], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not shutil.which("cc") or not shutil.which("objdump"), reason="needs a compiler and objdump to read what it makes")
@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the C sources")
@pytest.mark.skipif("avx2" not in _core.isas(), reason="only x86-64 has instruction sets beyond the one compiled for")
def test_no_instruction_beyond_the_baseline_outside_its_functions(tmp_path):
    """A stray one would be an illegal instruction on an older CPU. The scan sees a planted one, and finds those that are meant."""
    plant = tmp_path / "plant.c"
    plant.write_text(
        "#include <immintrin.h>\n"
        'void fnn_stray(float *x) __attribute__((target("avx2,fma")));\n'
        "void fnn_stray(float *x) { _mm256_storeu_ps(x, _mm256_fmadd_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(x), _mm256_loadu_ps(x))); }\n"
    )
    planted = stray_instructions(disassembly([plant], tmp_path))
    assert any("fnn_stray: vfmadd" in line for line in planted)
    text = disassembly(sorted((ROOT / "csrc").glob("*.c")), tmp_path)
    assert len(VECTOR_EXTENSION.findall(text)) > 1000
    assert "<fnn_linear_forward>:" in text
    assert stray_instructions(text) == []
