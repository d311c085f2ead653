"""All speed benchmarks that need no data: python -m benchmarks."""

from benchmarks import imports
from benchmarks.data import batches
from benchmarks.sharing import stacked_heads
from benchmarks.training import step

for title, part in (
    ("Batches from resident tensors", batches),
    ("A training epoch against a hand-written loop", step),
    ("139 stacked heads against a loop of heads", stacked_heads),
    ("Import", imports),
):
    print(f"\n## {title}\n")
    part.main()
