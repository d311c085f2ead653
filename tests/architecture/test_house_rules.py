"""The rules of CONTRIBUTING.md that a machine can check, each with a sentence when it is broken."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "polytask"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_CODE_LINES = 300


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def classes(path: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def code_lines(path: Path) -> int:
    """Lines of code, docstrings and comments apart."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    documented: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(
        1
        for number, line in lines
        if number not in documented and line.strip() and not line.strip().startswith("#")
    )


def test_layers_hold():
    run = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_files_stay_short():
    long = {relative(path): code_lines(path) for path in FILES if code_lines(path) > MAX_CODE_LINES}
    assert not long, f"files with more than {MAX_CODE_LINES} lines of code hold two ideas: {long}"


def test_every_concrete_class_is_final():
    """A class is an interface (it has an abstract base or abstract methods) or it is final."""
    interfaces = {"ABC", "Protocol", "NamedTuple", "StrEnum", "Enum", "TypedDict"}
    exempt_bases = {"BaseModel", "Section", "PolytaskError", "Callback"}
    exempt_bases |= {"AggregatorLaws", "BalancerLaws", "SharingLaws"}
    offenders = []
    names = {c.name for path in FILES for c in classes(path)}
    subclassed = {
        ast.unparse(base).split("[")[0].split(".")[-1]
        for path in FILES
        for c in classes(path)
        for base in c.bases
    }
    for path in FILES:
        for c in classes(path):
            bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in c.bases}
            decorators = {ast.unparse(d).split("(")[0].split(".")[-1] for d in c.decorator_list}
            if bases & interfaces or bases & exempt_bases or path.name == "errors.py":
                continue
            if c.name in exempt_bases or "final" in decorators:
                continue
            if any("abstractmethod" in map(ast.unparse, f.decorator_list) for f in functions(c)):
                continue
            if "dataclass" in decorators and c.name not in subclassed:
                continue
            offenders.append(f"{relative(path)}:{c.lineno} {c.name}")
    assert names
    assert not offenders, f"mark these classes @final or make them abstract: {offenders}"


def test_no_concrete_class_is_subclassed():
    final = {
        c.name
        for path in FILES
        for c in classes(path)
        if any(ast.unparse(d).endswith("final") for d in c.decorator_list)
    }
    offenders = [
        f"{relative(path)}: {c.name}({ast.unparse(base)})"
        for path in FILES
        for c in classes(path)
        for base in c.bases
        if ast.unparse(base).split(".")[-1] in final
        and not ast.unparse(base).startswith("nn.")  # torch's, whatever its name
    ]
    assert not offenders


def test_no_untyped_interfaces():
    offenders = [
        f"{relative(path)}:{f.lineno} {f.name}"
        for path in FILES
        for f in functions(tree_of(path))
        if f.args.kwarg is not None
    ]
    assert not offenders, f"name the arguments instead of **kwargs: {offenders}"


def test_no_bare_or_broad_except():
    offenders = [
        f"{relative(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert not offenders, f"catch what you expect, by name: {offenders}"


def test_nothing_loads_code():
    """No pickle, no torch.load, no eval on any path."""
    pattern = re.compile(r"\bpickle\b|torch\.load\b|\beval\(|\bexec\(|joblib|cloudpickle")
    offenders = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
        and ".eval()" not in line
        and "pickle anywhere" not in line
        and not line.strip().startswith(("#", '"""'))
    ]
    assert not offenders, offenders


def test_shapes_and_postponed_annotations_do_not_mix():
    offenders = [
        relative(path)
        for path in FILES
        if "jaxtyping" in path.read_text()
        and "from __future__ import annotations" in path.read_text()
    ]
    assert not offenders, "jaxtyping executes annotations; remove the __future__ import"


def ambiguous_norms(source: str) -> list[str]:
    """Norms whose meaning depends on the shape, in code and in examples of docstrings.

    On a matrix `torch.linalg.norm(W, 1)` is the largest column sum and `(W, 2)` the spectral norm,
    where `torch.norm` and `vector_norm` take all entries. `matrix_norm` says by its name what it
    is; 1, inf and their negatives (sums of columns and rows) are no norm that polytask has.
    """
    found = re.findall(r"\b(?:torch|linalg|functional)\.norm\b", source)
    # The method of a tensor takes the same shortcuts; a layer called `norm` is something else.
    found += re.findall(r"(?<!self)(?<!module)\.norm\(", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in (
            "torch", "numpy", "scipy",
        ):  # fmt: skip
            found += [f"{node.module}.norm" for name in node.names if name.name == "norm"]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).split(".")[-1]
        if name == "matrix_norm":
            given = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "ord")]
            if [ast.unparse(value) for value in given] not in (["'nuc'"], ["'fro'"], ["2"]):
                found.append(ast.unparse(node))
    return found


def test_names_of_matrix_norms_are_explicit():
    """`torch.norm` and `linalg.norm` change meaning with the shape; use vector_norm."""
    offenders = {
        relative(path): found
        for path in FILES
        if (found := ambiguous_norms(path.read_text(encoding="utf-8")))
    }
    assert not offenders, f"use torch.linalg.vector_norm: {offenders}"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.norm(w, 2)",
        "torch.linalg.norm(w, 1)",
        "from torch import linalg\nlinalg.norm(w)",
        "from torch.linalg import norm\nnorm(w, 2)",
        "from torch import norm as length\nlength(w)",
        "numpy.linalg.norm(w, 1)",
        "w.norm(1)",
        "linalg.matrix_norm(w, 1)",
        "linalg.matrix_norm(w)",
        "linalg.matrix_norm(w, ord=float('inf'))",
        'def f():\n    """An example.\n\n    >>> torch.norm(w)\n    """',
    ],
)
def test_ambiguous_norms_are_found(source: str):
    assert ambiguous_norms(source)


def test_norms_that_say_what_they_are_pass():
    assert not ambiguous_norms(
        "torch.linalg.vector_norm(w, 1)\nlinalg.matrix_norm(w, 'nuc')\n"
        "linalg.matrix_norm(w, ord=2)\ntorch._foreach_norm(ws)\nself.norm(x)"
    )


def test_no_room_is_called_utils():
    forbidden = {"utils", "helpers", "common", "misc"}
    offenders = [relative(p) for p in SOURCE.rglob("*") if p.stem in forbidden]
    assert not offenders, "name the room for what it holds"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_public_names_are_documented(path: Path):
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body, f"{relative(path)} needs a first sentence"
    missing = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing, f"{relative(path)}: {missing} need a docstring"
