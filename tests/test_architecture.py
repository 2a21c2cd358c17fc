"""The rules of the house as code: layers, one place for each thing, four files per op, sizes."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vivace import _dispatch, _env

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "vivace"
CSRC = ROOT / "csrc"

# layer -> the layers that it may import, besides itself. One direction only.
_BASE = {"_files"}
_OPS = {"_dispatch"}
_TOOLS = {"hub", "audio", "loudness", *_BASE}
_MODELS = {"nn", "ops", "generation", *_TOOLS}
LAYERS: dict[str, set[str]] = {
    "_config": set(),
    "_files": set(),
    "_dispatch": set(),
    "_env": {"_dispatch"},
    "ops": _OPS,
    "nn": {"ops"},
    "generation": {"ops", "nn", "_config"},
    "loudness": set(),
    "audio": _BASE,
    "hub": _BASE,
    "models": _MODELS,
    "schedulers": _TOOLS,
    "pipelines": {"models", "schedulers", *_MODELS},
}
TOP_LAYERS = {"cli", "integrations", "__init__", "__main__"}  # may import everything
MODEL_EDGES: set[tuple[str, str]] = {("bark", "encodec")}  # a model imports no other, but for these


def python_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / line for line in listing.splitlines() if (ROOT / line).is_file()]


def imported_modules(path: Path) -> set[str]:
    """Absolute names of the vivace modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == "vivace"}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def upward_imports(path: Path, layer: str) -> set[str]:
    """The imports of a file that its layer may not have. `from vivace import x` counts as x."""
    bad = set()
    for name in imported_modules(path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else None
        known = target in LAYERS or target in TOP_LAYERS
        if known and target != layer and target not in LAYERS[layer]:
            bad.add(name)
    return bad


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_layers(path: Path) -> None:
    layer = layer_of(path)
    if layer in TOP_LAYERS:
        return
    assert layer in LAYERS, f"{layer} is in no layer: add it to LAYERS with what it may import"
    assert not upward_imports(path, layer)


def test_a_planted_upward_import_is_caught(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from vivace.models import dac\n")
    assert upward_imports(planted, "ops") == {"vivace.models", "vivace.models.dac"}


def test_models_do_not_import_each_other() -> None:
    folders = [p for p in (PACKAGE / "models").iterdir() if p.is_dir() and p.name != "__pycache__"]
    for folder in folders:
        for path in python_files(folder):
            for name in imported_modules(path):
                parts = name.split(".")
                if parts[1:2] == ["models"] and len(parts) > 2:
                    other = parts[2]
                    if (PACKAGE / "models" / other).is_dir() and other != folder.name:
                        assert (folder.name, other) in MODEL_EDGES, f"{path} imports {name}"


def test_only_dispatch_asks_for_the_device_type() -> None:
    """Elsewhere `x.is_cuda` would be backend logic outside the one place that decides."""
    for path in python_files(PACKAGE):
        if layer_of(path) in ("ops", "nn", "models", "pipelines", "schedulers"):
            assert ".is_cuda" not in path.read_text(), path


def test_nothing_at_run_time_imports_the_oracles() -> None:
    pattern = re.compile(
        r"^\s*(import|from) (transformers|diffusers|torchaudio|torchcodec)\b", re.M
    )
    for path in python_files(PACKAGE):
        if layer_of(path) != "integrations":
            assert not pattern.search(path.read_text()), path


def test_import_is_lazy() -> None:
    heavy = ("torch", "transformers", "diffusers", "numpy", "huggingface_hub", "soundfile")
    code = f"import sys, vivace; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def code_of(path: Path) -> str:
    """The file without comments and strings, so that prose may name what code may not."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


C_FILES = [p for p in tracked("csrc") if p.suffix in {".h", ".hpp", ".cuh", ".cu", ".cpp"}]


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: str(p.relative_to(CSRC)))
def test_c_layers(path: Path) -> None:
    part = path.relative_to(CSRC).parts[0]
    includes = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', path.read_text(), re.M)
    if part in ("core", "cuda", "cpu"):
        foreign = [i for i in includes if re.match(r"torch|ATen|c10|pybind11|Python\.h", i)]
        assert not foreign
        assert not [i for i in includes if i.startswith(("bindings/", "simt/"))] or part == "core"
    if part == "cuda":
        standard = r"[a-z_]+"  # <cstdint>; CUDA's own headers come through core/gpu.cuh
        assert all(re.fullmatch(rf"core/[a-z0-9_.]+|{standard}", i) for i in includes), includes
    code = code_of(path)
    if part in ("cuda", "cpu", "bindings"):
        for word in (r"<<<", r"\basm\b", r"\b__asm__\b", r"__CUDA_ARCH__", r"VIVACE_SIMT"):
            assert not re.search(word, code), f"{word} belongs in csrc/core"
        assert not re.search(r"\bcuda(Malloc|Free|Memcpy|Stream|Device|Launch|Get|Peek)\w*\(", code)
        assert not re.search(r"#\s*(if|ifdef|ifndef)\b", code)


def test_simd_objects_share_no_inline_code() -> None:
    """A weak symbol of an AVX-512 file may be the copy that the linker keeps: SIGILL elsewhere."""
    objects = sorted((ROOT / "build").glob("*/CMakeFiles/_cpu.dir/csrc/cpu/*/*.o"))
    if not objects:
        assert not os.environ.get("CI"), "no build folder: run `make dev` first"
        pytest.skip("no build folder: run `make dev` first")
    for path in objects:
        out = subprocess.run(["nm", "-C", path], capture_output=True, text=True, check=True).stdout
        # DW.ref.*: pointers to the C++ runtime's exception handler, no code.
        weak = [line for line in out.splitlines() if re.search(r" [WVu] (?!DW\.ref\.)", line)]
        assert not weak, f"{path.name}: {weak}"


@pytest.mark.parametrize("backend", ["cpu", "cuda", "simt"])
def test_modules_link_neither_torch_nor_cuda(backend: str) -> None:
    module = _dispatch.load(backend)
    if module is None:
        assert not (os.environ.get("CI") and backend != "cuda"), f"vivace._{backend} is not built"
        pytest.skip(f"vivace._{backend} is not built")
    assert module.__file__ is not None
    out = subprocess.run(["ldd", module.__file__], capture_output=True, text=True, check=True)
    assert not re.search(r"torch|c10|libcuda|cudart|nvidia", out.stdout)


@pytest.mark.parametrize("name", _dispatch.ops())
def test_every_op_has_its_four_files(name: str) -> None:
    for path in (
        PACKAGE / "ops" / f"{name}.py",
        CSRC / "bindings" / f"{name}.cpp",
        ROOT / "tests" / "ops" / f"test_{name}.py",
    ):
        assert path.is_file(), path
    kernels = [CSRC / "cuda" / f"{name}.cu", CSRC / "cpu" / f"{name}.cpp"]
    assert any(k.exists() for k in kernels), "an op without a kernel is a function: put it in nn/"


def test_file_sizes() -> None:
    files = tracked("*.py", "*.cu", "*.cuh", "*.cpp", "*.h", "*.hpp")
    lengths = sorted((len(p.read_text().splitlines()), p) for p in files)
    assert lengths[-1][0] <= 400, lengths[-1]
    assert lengths[len(lengths) // 2][0] <= 120, "the median file outgrew 120 lines"


def test_environment_variables_are_listed() -> None:
    found: set[str] = set()
    for path in python_files(PACKAGE):
        found |= set(re.findall(r"VIVACE_[A-Z_]+", path.read_text()))
    found -= {"VIVACE_SIMT", "VIVACE_CUDA"}  # build options, named in advice
    assert found == set(_env.VARIABLES)
