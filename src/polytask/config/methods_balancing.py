"""How the tasks share the update: every method by name, and how much it must be told."""

from .method import Method

_FREE = "none"
_HEADS = "K task gradients at the shared parameters"
_KEPT = "K task gradients, all in memory together"


def _losses(
    name: str, target: str, one_line: str, reference: str = "", cost: str = _FREE
) -> Method:
    target = f"polytask.balancing:{target}"
    return Method(name, "balancing", target, one_line, cost, reference, "losses")


def _gradients(
    name: str, target: str, one_line: str, reference: str = "", needs: str = "gramian"
) -> Method:
    cost = {"none": _FREE, "norms": _HEADS, "gramian": _HEADS, "jacobian": _KEPT}[needs]
    target = f"polytask.aggregation:{target}"
    return Method(name, "balancing", target, one_line, cost, reference, needs)


BALANCING: tuple[Method, ...] = (
    _losses(
        "equal",
        "EqualWeights",
        "The mean of the losses of the tasks that have labels: the default for wide tables.",
    ),
    _losses(
        "fixed",
        "FixedWeights",
        "Weights of your own: balance.weights, or weight of each target.",
    ),
    _losses(
        "scheduled",
        "ScheduledWeights",
        "Weights that move with the epochs, in steps or in straight lines: balance.schedule.",
    ),
    _losses(
        "pooled",
        "PooledLoss",
        "Tasks weigh by their labels in the update: the default for long tables.",
    ),
    _losses(
        "uncertainty",
        "UncertaintyWeights",
        "Learns a variance per task, with forms for regression and for classification.",
        "Kendall et al., CVPR 2018, arXiv 1705.07115",
    ),
    _losses(
        "uw-so",
        "UWSO",
        "Weighs each task by the softmax of its inverse loss.",
        "Kirchdorfer et al., GCPR 2024, arXiv 2408.07985",
    ),
    _losses(
        "imtl-l",
        "IMTLL",
        "Learns one scale per task so that all scaled losses are equal.",
        "Liu et al., ICLR 2021",
    ),
    _losses(
        "dwa",
        "DWA",
        "Weighs tasks by how slowly their losses fell from one epoch to the next.",
        "Liu et al., CVPR 2019, arXiv 1803.10704",
    ),
    _losses(
        "random",
        "RandomWeights",
        "Draws new weights for every update: a baseline that is hard to beat.",
        "Lin et al., TMLR 2022, arXiv 2111.10603",
    ),
    _losses(
        "geometric-mean",
        "GeometricMean",
        "The geometric mean of the losses: their units cancel.",
        "Chennupati et al., CVPR workshops 2019, arXiv 1904.08492",
    ),
    _losses(
        "famo",
        "FAMO",
        "Equal relative improvement of all tasks, learned from losses before and after updates.",
        "Liu et al., NeurIPS 2023, arXiv 2306.03792",
        cost="one forward pass more",
    ),
    _losses(
        "smooth-tchebycheff",
        "SmoothTchebycheff",
        "A smooth maximum of the losses relative to where they stood after a warm-up.",
        "Lin et al., ICML 2024, arXiv 2402.19078",
    ),
    _losses(
        "plain-smooth-tchebycheff",
        "PlainSmoothTchebycheff",
        "A smooth maximum of the losses above an ideal point, by preference.",
        "Lin et al., ICML 2024, arXiv 2402.19078",
    ),
    _losses(
        "performance",
        "PerformanceWeights",
        "Weighs tasks by the share of their loss that is left on training rows set aside.",
        "after Liu, Liang & Gitter, AAAI 2019",
        cost="a tenth of the training rows set aside, measured once per epoch",
    ),
    _gradients("mean", "Mean", "The mean of the task gradients, heads at weight 1.", needs="none"),
    _gradients("sum", "Sum", "The sum of the task gradients, heads at weight 1.", needs="none"),
    _gradients(
        "gradnorm",
        "GradNorm",
        "Learns weights so that slower tasks get larger gradients.",
        "Chen et al., ICML 2018, arXiv 1711.02257",
        needs="norms",
    ),
    _gradients(
        "mgda",
        "MGDA",
        "The shortest vector in the hull of the task gradients; small gradients dominate.",
        "Désidéri, 2012; Sener & Koltun, NeurIPS 2018, arXiv 1810.04650",
    ),
    _gradients(
        "pcgrad",
        "PCGrad",
        "Projects conflicting gradients onto each other's normal plane, in random order.",
        "Yu et al., NeurIPS 2020, arXiv 2001.06782",
    ),
    _gradients(
        "gradvac",
        "GradVac",
        "Turns gradients until their cosines reach their moving average.",
        "Wang et al., ICLR 2021, arXiv 2010.05874",
    ),
    _gradients(
        "cagrad",
        "CAGrad",
        "Near the mean gradient, the direction that helps the worst-off task most.",
        "Liu et al., NeurIPS 2021, arXiv 2110.14048",
    ),
    _gradients(
        "imtl-g",
        "IMTLG",
        "The direction with equal projections on all task gradients.",
        "Liu et al., ICLR 2021",
    ),
    _gradients(
        "imtl",
        "IMTL",
        "IMTL-G on losses whose scales are learned by IMTL-L.",
        "Liu et al., ICLR 2021",
    ),
    _gradients(
        "nash-mtl",
        "NashMTL",
        "The Nash bargaining solution: insensitive to the scale of every loss.",
        "Navon et al., ICML 2022, arXiv 2202.01017",
    ),
    _gradients(
        "fairgrad",
        "FairGrad",
        "Bargaining with α-fairness, between efficiency and equality.",
        "Ban & Ji, ICML 2024, arXiv 2402.15638",
    ),
    _gradients(
        "aligned-mtl",
        "AlignedMTL",
        "Gives the task gradients a common principal scale: a well-conditioned system.",
        "Senushkin et al., CVPR 2023, arXiv 2305.19000",
    ),
    _gradients(
        "upgrad",
        "UPGrad",
        "Projects every gradient onto the cone of no conflict, then averages.",
        "Quinton & Rey 2024, arXiv 2406.16232",
    ),
    _gradients(
        "dualproj",
        "DualProj",
        "Averages the gradients, then projects onto the cone of no conflict.",
        "Lopez-Paz & Ranzato, NeurIPS 2017 (GEM), arXiv 1706.08840",
    ),
    _gradients(
        "config",
        "ConFIG",
        "Equal cosines to all task gradients, length by what they agree on.",
        "Liu, Chu & Thuerey, ICLR 2025, arXiv 2408.11104",
    ),
    _gradients(
        "krum",
        "Krum",
        "Follows the gradients closest to most others: a minority of outlying tasks is left out.",
        "Blanchard et al., NeurIPS 2017, arXiv 1703.02757",
    ),
    _gradients(
        "graddrop",
        "GradDrop",
        "Per coordinate keeps one sign, drawn by its purity.",
        "Chen et al., NeurIPS 2020, arXiv 2010.06808",
        needs="jacobian",
    ),
    _gradients(
        "moco",
        "MoCo",
        "Averages noisy gradients over the updates before weighing them.",
        "Fernando et al., ICLR 2023, arXiv 2210.12624",
        needs="jacobian",
    ),
    _gradients(
        "db-mtl",
        "DBMTL",
        "Logarithms of the losses, gradients of equal length.",
        "Lin et al., 2023, arXiv 2308.12029",
        needs="jacobian",
    ),
)
