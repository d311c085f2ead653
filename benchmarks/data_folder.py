"""Where the benchmark data lies, and how to get it."""

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The folder named by POLYTASK_DATA, or the end of the program with a sentence."""
    folder = os.environ.get("POLYTASK_DATA", "")
    if not folder or not Path(folder).is_dir():
        sys.exit(
            "Set POLYTASK_DATA to the folder with the benchmark data; benchmarks/README.md says "
            "which files it holds and where they come from."
        )
    return Path(folder)
