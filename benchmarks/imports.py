"""What importing costs: `polytask.Trainer` after `import torch`, and the command's help.

Run with ``python -m benchmarks.imports``. Every number comes from a fresh process; times are
medians, the ratio is taken within each process, so that a busy machine slows both sides.
"""

import os
import statistics
import subprocess
import sys

REPEATS = 7
GOAL = 0.1

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""Compiled files are kept, as they are for users; without them compiling is what one measures."""

TOUCH = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
import polytask
polytask.Trainer
end = time.perf_counter()
print(middle - start, end - middle)
"""

HELP = "import sys; sys.argv = ['polytask', '--help']; from polytask.cli.main import main; main()"


def touch() -> tuple[float, float]:
    """Seconds of ``import torch``, and of touching the trainer afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", TOUCH], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    torch_seconds, trainer_seconds = map(float, done.stdout.split())
    return torch_seconds, trainer_seconds


def imported_by_help() -> tuple[list[str], float]:
    """Top-level packages that ``polytask --help`` imports, and the seconds of all imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", HELP],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Usage" not in done.stdout:
        raise RuntimeError(f"polytask --help failed:\n{done.stdout}\n{done.stderr[-2000:]}")
    rows = [
        line.removeprefix("import time:").split("|")
        for line in done.stderr.splitlines()
        if line.startswith("import time:") and "[us]" not in line
    ]
    packages = {row[2].strip().partition(".")[0] for row in rows}
    return sorted(packages), sum(int(row[0]) for row in rows) / 1e6


def main() -> None:
    """Prints the table."""
    touch()  # fills the file cache and writes bytecode
    pairs = [touch() for _ in range(REPEATS)]
    torch_seconds = statistics.median(pair[0] for pair in pairs)
    trainer_seconds = statistics.median(pair[1] for pair in pairs)
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    imported_by_help()
    packages, help_seconds = imported_by_help()
    verdict = "no" if "torch" not in packages else "YES: a defect"
    print(f"| imports (median of {REPEATS} fresh processes) | measured | goal |")
    print("| --- | ---: | ---: |")
    print(f"| `import torch` | {torch_seconds * 1000:.0f} ms | |")
    print(f"| then `polytask.Trainer` | {trainer_seconds * 1000:.0f} ms | |")
    print(f"| ratio | {ratio:.3f} | <= {GOAL} |")
    print(f"| `polytask --help`, all imports | {help_seconds * 1000:.0f} ms | |")
    print(f"| `polytask --help` imports torch | {verdict} | no |")


if __name__ == "__main__":
    main()
