"""Where the aggregation methods agree with torchjd, and who is right where they do not.

    python -m benchmarks.balancing.torchjd_agreement [--problems 20] [--markdown FILE]

Needs torchjd with its optional solvers and SciPy (pip install "torchjd[full]==0.18.0"), in an
environment of its own: they are no dependencies. Four families of Jacobians in float64 (see
`families`); per family the largest ‖d - d'‖/‖d‖ of all problems, and for both packages the largest
violation of what defines the method, which is computed here from the update alone:

- UPGrad, DualProj: relative distance to the projections by SciPy's non-negative least squares;
- MGDA: (‖d‖² - min_k g_kᵀd)/‖d‖², which is zero exactly at the point of least norm;
- CAGrad: what the worst slope lacks to the better one of both, relative to ‖g_k‖‖d‖, and how far d
  leaves the ball;
- Nash-MTL, FairGrad: largest |w_k^(1/a) g_kᵀd - 1|, in the direction of the update;
- IMTL-G, ConFIG: spread of the projections on unit gradients, relative to the largest;
- Aligned-MTL: ‖d‖ against √σ‖p‖, with σ from the singular values of the Jacobian;
- Krum: relative distance to the mean of the gradients with the smallest scores, by differences of
  the gradients themselves;
- Mean, Sum, PCGrad (two tasks), GradVac (two tasks, first call): relative distance to the formula.

Violations are taken on the three families of full rank; what is returned for dependent gradients is
a matter of definition for all but the projections.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from polytask import aggregation as ours

HEAD = """# Agreement with torchjd 0.18.0

    python -m benchmarks.balancing.torchjd_agreement --problems {problems} --markdown FILE

torch {torch}, float64. Largest relative difference of the updates on four families of Jacobians
(2, 3, 5 and 8 tasks; PCGrad and GradVac: 2; Krum: 5 and 8), and the largest violation of each
method's own definition on the first three. What is measured, and the families: the script's first
page.

"""
NOTES = """
- UPGrad, DualProj: torchjd adds 1e-4 of the trace to the diagonal of the Gramian. With gradients of
  equal size that is the third digit; with sizes over three decades the small tasks conflict.
- MGDA: torchjd's Frank-Wolfe iterations stop when a step is shorter than 1e-3, not at the optimum.
- CAGrad: torchjd solves on the normalised Gramian with a general-purpose conic solver; its update
  is right to four digits, its worst slope to two where gradients are unequal.
- Nash-MTL: 20 linearised programs; where their solver fails, torchjd keeps the weights it has. On
  random gradients of many parameters it agrees to eight digits; on conflicting ones it is not at
  the solution.
- FairGrad: SciPy's bounded least squares, from equal weights; right to nine digits unless the
  sizes of the gradients differ.
- GradVac: torchjd adds 1e-8 to denominators.
- Krum: torchjd sums distances, as polytask does with squared=False; the paper sums their squares,
  and some selections differ. Of three tasks the nearest two tie: torchjd takes one, polytask both.
- IMTL-G on dependent gradients: torchjd takes the pseudo-inverse of the Gramian, polytask that of
  the cosines, so that the line does not depend on the scales; the paper defines neither.
- Dependent gradients otherwise: the projections and the point of least norm are unique as updates,
  and the ridge or the early stop shows in full. Nash-MTL and FairGrad have no solution at
  Pareto-stationary points; polytask returns zero and says so.
"""

Update = Callable[[torch.Tensor], torch.Tensor]
Check = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
Contestant = tuple[Callable[[], Update], Callable[[], Update], Check, tuple[int, ...]]


def families(problems: int, tasks: tuple[int, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """Random: Gaussian, 50 parameters. Conflicting: 1.5 parameters per task. Scaled: norms over
    three decades. Dependent: rank of half the tasks, and a duplicate."""
    rng = np.random.default_rng(0)
    for index in range(problems):
        size = tasks[index % len(tasks)]
        wide, narrow = rng.standard_normal((size, 50)), rng.standard_normal((size, size * 3 // 2))
        low = rng.standard_normal((size, max(1, size // 2))) @ rng.standard_normal(
            (max(1, size // 2), 50)
        )
        low[-1] = low[0]
        sizes = 10.0 ** np.linspace(-3, 0, size)[:, None]
        yield "random", torch.from_numpy(wide)
        yield "conflicting", torch.from_numpy(narrow)
        yield "scaled", torch.from_numpy(narrow * rng.permutation(sizes))
        yield "dependent", torch.from_numpy(low)


def projected(jacobian: np.ndarray, point: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    norms = np.linalg.norm(jacobian, axis=1)
    units = jacobian / norms[:, None]
    length = np.linalg.norm(point)
    return length * (point / length + units.T @ nnls(units.T, -point / length)[0])


def distance(wanted: np.ndarray, update: np.ndarray) -> float:
    return float(np.linalg.norm(update - wanted) / np.linalg.norm(wanted))


def upgrad(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
    return distance(np.mean([projected(jacobian, row) for row in jacobian], axis=0), update)


def dualproj(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
    return distance(projected(jacobian, jacobian.mean(axis=0)), update)


def mgda(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
    squared = float(update @ update)
    return (squared - float((jacobian @ update).min())) / squared


def cagrad(jacobian: np.ndarray, update: np.ndarray, other: np.ndarray) -> float:
    mean = jacobian.mean(axis=0)
    slopes, better = jacobian @ update, (jacobian @ other).min()
    natural = np.linalg.norm(update) * np.linalg.norm(jacobian, axis=1).min()
    lacking = max(0.0, float(better - slopes.min())) / natural
    outside = float(np.linalg.norm(update - mean) / (0.5 * np.linalg.norm(mean))) - 1.0
    return max(lacking, outside)


def fair(alpha: float) -> Check:
    def check(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
        weights = np.linalg.lstsq(jacobian.T, update, rcond=None)[0]
        slopes = jacobian @ update
        if weights.min() <= 0.0 or slopes.min() <= 0.0:
            return np.inf
        # A package may clip the length: only the direction is judged.
        products = np.log(slopes) + np.log(weights) / alpha
        return float(np.abs(np.expm1(products - products.mean())).max())

    return check


def projections(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
    along = jacobian @ update / np.linalg.norm(jacobian, axis=1)
    return float((along.max() - along.min()) / np.abs(along).max())


def aligned(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
    smallest = np.linalg.svd(jacobian, compute_uv=False)[-1]
    wanted = smallest / np.sqrt(len(jacobian))
    return abs(float(np.linalg.norm(update)) / wanted - 1.0)


def krum(selected: int, power: int) -> Check:
    def check(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
        lengths = np.linalg.norm(jacobian[:, None] - jacobian, axis=2)
        nearest = np.sort(lengths, axis=1)[:, 1 : len(jacobian) - 2]  # one outlier
        chosen = np.argsort((nearest**power).sum(axis=1))[:selected]
        return distance(jacobian[chosen].mean(axis=0), update)

    return check


def formula(weigh: Callable[[np.ndarray], np.ndarray]) -> Check:
    def check(jacobian: np.ndarray, update: np.ndarray, _: np.ndarray) -> float:
        return distance(weigh(jacobian @ jacobian.T) @ jacobian, update)

    return check


def surgery(gramian: np.ndarray) -> np.ndarray:
    inner = min(0.0, float(gramian[0, 1]))
    return 1.0 - inner / np.diagonal(gramian)


def contestants() -> dict[str, Contestant]:
    """Name: ours, theirs, the check, and numbers of tasks."""
    from torchjd import aggregation as jd

    def mine(build: Callable[[], ours.GramianAggregator]) -> Callable[[], Update]:
        return lambda: lambda jacobian: build()(jacobian @ jacobian.T) @ jacobian

    many, two, more = (2, 3, 5, 8), (2,), (5, 8)
    return {
        "Mean": (mine(ours.Mean), jd.Mean, formula(lambda g: np.full(len(g), 1 / len(g))), many),
        "Sum": (mine(ours.Sum), jd.Sum, formula(lambda g: np.ones(len(g))), many),
        "UPGrad": (mine(ours.UPGrad), jd.UPGrad, upgrad, many),
        "DualProj": (mine(ours.DualProj), jd.DualProj, dualproj, many),
        "MGDA": (mine(ours.MGDA), jd.MGDA, mgda, many),
        "CAGrad(0.5)": (mine(lambda: ours.CAGrad(0.5)), lambda: jd.CAGrad(c=0.5), cagrad, many),
        "PCGrad": (mine(ours.PCGrad), jd.PCGrad, formula(surgery), two),
        "GradVac": (mine(ours.GradVac), jd.GradVac, formula(surgery), two),
        "IMTLG": (mine(ours.IMTLG), jd.IMTLG, projections, many),
        "NashMTL(1)": (
            mine(lambda: ours.NashMTL(1.0)),
            lambda: lambda jacobian: jd.NashMTL(n_tasks=len(jacobian))(jacobian),
            fair(1.0),
            many,
        ),
        "FairGrad(1)": (
            mine(lambda: ours.FairGrad(1.0)),
            lambda: jd.FairGrad(alpha=1.0),
            fair(1.0),
            many,
        ),
        "FairGrad(2)": (
            mine(lambda: ours.FairGrad(2.0)),
            lambda: jd.FairGrad(alpha=2.0),
            fair(2.0),
            many,
        ),
        "AlignedMTL": (mine(ours.AlignedMTL), jd.AlignedMTL, aligned, many),
        "ConFIG": (mine(ours.ConFIG), jd.ConFIG, projections, many),
        "Krum(1, 2)": (mine(lambda: ours.Krum(1, 2)), lambda: jd.Krum(1, 2), krum(2, 2), more),
        "Krum(1, 2, squared=False)": (
            mine(lambda: ours.Krum(1, 2, squared=False)),
            lambda: jd.Krum(1, 2),
            krum(2, 1),
            more,
        ),
    }


def verdict(ours_off: float, theirs_off: float, apart: float) -> str:
    if apart <= 1e-6 and max(ours_off, theirs_off) <= 1e-6:
        return "both"
    if ours_off < 1e-2 * theirs_off:
        return "polytask"
    return "torchjd" if theirs_off < 1e-2 * ours_off else "open"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ("random", "conflicting", "scaled", "dependent")
    lines = [
        "| method | " + " | ".join(kinds) + " | torchjd off by | polytask off by | right |",
        "| --- " * (len(kinds) + 4) + "|",
    ]
    for name, (build_ours, build_theirs, check, sizes) in contestants().items():
        apart, off = dict.fromkeys(kinds, 0.0), [0.0, 0.0]
        failures: set[str] = set()
        for kind, jacobian in families(arguments.problems, sizes):
            one = build_ours()(jacobian).numpy()
            try:
                two = build_theirs()(jacobian).numpy()
            except Exception as error:  # noqa: BLE001 (whatever a peer raises is its result)
                failures.add(f"{type(error).__name__} on {kind}")
                apart[kind] = np.inf
                continue
            length = max(np.linalg.norm(one), np.linalg.norm(two))
            gap = float(np.linalg.norm(one - two) / length) if length > 0.0 else 0.0
            apart[kind] = max(apart[kind], gap)
            if kind != "dependent":
                off[0] = max(off[0], check(jacobian.numpy(), two, one))
                off[1] = max(off[1], check(jacobian.numpy(), one, two))
        cells = [f"{apart[kind]:.0e}" for kind in kinds] + [f"{value:.0e}" for value in off]
        right = verdict(off[1], off[0], max(apart[kind] for kind in kinds[:3]))
        note = f" ({', '.join(sorted(failures))})" if failures else ""
        lines.append("| " + " | ".join([name, *cells, right + note]) + " |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print("\n" + text)
    text = HEAD.format(problems=arguments.problems, torch=torch.__version__) + text + NOTES
    if arguments.markdown is not None:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
