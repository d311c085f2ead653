"""Heavy packages load when they are used, not before."""

import json
import subprocess
import sys

import pytest

HEAVY = ["pandas", "sklearn", "torchmetrics", "pydantic", "altair", "pyarrow", "rich", "scipy"]

LOADED = "import json, sys; print(json.dumps([m for m in sys.modules if '.' not in m]))"


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_itself_loads_nothing():
    loaded = modules_after("import polytask")
    assert "polytask" in loaded
    assert not loaded & {"torch", "numpy", *HEAVY}


def test_the_trainer_loads_torch_and_nothing_else_that_is_heavy():
    loaded = modules_after("import polytask; polytask.Trainer")
    assert "torch" in loaded
    assert sorted(loaded & set(HEAVY)) == []


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]], ids=" ".join)
def test_help_does_not_load_torch(arguments):
    code = "\n".join(
        [
            "import sys, contextlib, io",
            f"sys.argv = ['polytask', *{arguments!r}]",
            "from polytask.cli.main import main",
            "shown = io.StringIO()",
            "with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):",
            "    main()",
            "assert 'Usage' in shown.getvalue(), shown.getvalue()",
        ]
    )
    assert "torch" not in modules_after(code)


def test_the_check_sees_a_heavy_import():
    assert "pandas" in modules_after("import pandas")
