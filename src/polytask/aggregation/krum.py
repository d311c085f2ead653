"""Krum: the gradients that most others are close to."""

from typing import final

from polytask._checks import require
from polytask._linalg import Solution, solve_krum

from .base import GramianAggregator, Problem


@final
class Krum(GramianAggregator):
    """Follows the gradients closest to most others; a minority of outlying tasks is left out.

    Made for distributed learning, where some workers send wrong gradients (Byzantine faults): all
    gradients estimate the same one, and a few cannot be trusted. With tasks it is of use where many
    are alike and a few may be broken. It does not balance: a task that is left out has weight 0 in
    this update and may get worse, and that no task conflicts with the update is not promised.
    Sizes matter: among gradients at right angles the shortest are chosen; `EqualizeNorms` around
    the method compares directions alone. With the distances D_ij = ‖g_i - g_j‖,

        s_i = Σ of the K - f - 2 smallest D_ij² with j ≠ i
        d   = the mean of the m gradients with the smallest s_i

    for K tasks. Krum is m = 1, Multi-Krum m > 1. Scale: mean.

    Ties do not depend on the order of the tasks: gradients whose scores equal the m-th smallest, up
    to the rounding error of the Gramian, share what is left of the weights equally. For K = f + 3
    and m = 1 the two gradients next to each other always tie, so d is their mean.

    Args:
        outliers: f, number of tasks that may be outlying, at least 0 and at most K - 3; the paper's
            guarantee needs K ≥ 2f + 3. With 0 each score already leaves out the farthest other
            gradient.
        selected: m, number of gradients that are averaged, from 1 (Krum) to K. Paper: at most
            K - f.
        squared: False sums the distances themselves.

    Shapes:
        gramian [tasks, tasks] → weights [tasks].

    Raises:
        InvalidArgument: an argument is out of its range; more tasks are to be outlying or selected
            than there are.

    Example:
        >>> import torch
        >>> rows = [[1.0, 1, 1], [1, 0, 1], [75, -666, 23], [1, 2, 3], [2, 0, 1]]
        >>> gradients = torch.tensor(rows)
        >>> Krum(outliers=1, selected=4)(gradients @ gradients.T)
        tensor([0.2500, 0.2500, 0.0000, 0.2500, 0.2500])

    Note:
        The paper's score sums squared distances, and its ties go to the first worker; torchjd sums
        distances (``squared=False``), which may select others. D_ij² is taken as
        G_ii + G_jj - 2G_ij, clamped at 0: of gradients that differ by less than the square root of
        the machine epsilon, relative to their length, nothing is left of it but rounding, and they
        tie. Where absent tasks, or zero gradients, which are left out, leave fewer than f + 3, each
        is judged by its nearest neighbour alone (flag "too-few-tasks"); of two, d is the mean.

    Reference:
        Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine
        tolerant gradient descent", NeurIPS 2017, Section 4, https://arxiv.org/abs/1703.02757
    """

    guarantees = frozenset({"non-negative-weights", "weights-sum-to-one", "homogeneous"})
    scale = "mean"
    paper = "Blanchard et al. 2017, https://arxiv.org/abs/1703.02757"

    def __init__(self, outliers: int = 0, selected: int = 1, squared: bool = True) -> None:
        super().__init__()
        for name, value, least in (("outliers", outliers, 0), ("selected", selected, 1)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(whole and value >= least, name, f"be a whole number, {least} or more", value)
        require(isinstance(squared, bool), "squared", "be true or false", squared)
        self.outliers = outliers
        self.selected = selected
        self.squared = squared

    def weigh(self, problem: Problem) -> Solution:
        """Sums of sorted rows of the distances."""
        tasks = problem.num_tasks
        most = max(tasks - 3, 0)  # a score needs a neighbour beside the outliers
        for name, value, bound in (
            ("outliers", self.outliers, most),
            ("selected", self.selected, tasks),
        ):
            require(value <= bound, name, f"be at most {bound} for {tasks} tasks", value)
        return solve_krum(
            problem.gramian, self.outliers, self.selected, self.squared, problem.precision
        )
