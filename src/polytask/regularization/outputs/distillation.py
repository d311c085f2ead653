"""Knowledge distillation: the losses follow a teacher's outputs beside the labels."""

from dataclasses import dataclass
from typing import final

from polytask._checks import positive, require


@final
@dataclass(frozen=True)
class Distillation:
    """How the loss on labels and the loss on a teacher's outputs share the objective.

    loss = λ L(y) + (1 − λ) D(teacher, student)

    with L the task's own loss and D its distillation loss (`Task.distillation_loss`): for classes
    τ² KL(teacher ‖ student), both softened by the temperature τ; for numbers the task's own loss
    with the teacher's output as the target. λ is 1 − `weight`; with teacher annealing it rises
    linearly from 0 to 1 over the run, so that the student begins with the teacher and ends with
    the labels: born-again multi-task learning, if the teachers are single-task models.

    Args:
        weight: Share 1 − λ of the teacher, in [0, 1]; usual 0.5 to 0.9.
        temperature: τ, positive; usual 2 to 4. Softens classes only.
        annealed: Teacher annealing; `weight` then has no meaning.

    Raises:
        InvalidArgument: If a value breaks its rule.

    Example:
        >>> Distillation(weight=0.9).label_share(0.5)
        0.09999999999999998
        >>> [Distillation(annealed=True).label_share(fraction) for fraction in (0.0, 0.5, 1.0)]
        [0.0, 0.5, 1.0]

    Reference:
        Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
        https://arxiv.org/abs/1503.02531
        Clark et al., BAM! Born-Again Multi-Task Networks for Natural Language Understanding, ACL
        2019, section 3 (teacher annealing). https://arxiv.org/abs/1907.04829
    """

    weight: float = 0.5
    temperature: float = 2.0
    annealed: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, "weight", "lie in [0, 1]", self.weight)
        positive("temperature", self.temperature)

    def label_share(self, fraction: float) -> float:
        """λ, the weight of the loss on labels.

        Args:
            fraction: Of the run that is over, in [0, 1].
        """
        return fraction if self.annealed else 1.0 - self.weight

    def describe(self) -> str:
        """Share and temperature, in words."""
        share = (
            "the labels' share rises from 0 to 1 over the run"
            if self.annealed
            else f"teacher's share {self.weight:g}"
        )
        return f"{share}, temperature {self.temperature:g}"
