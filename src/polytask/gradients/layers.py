"""Linear layers in the graph: their weight gradients from what goes in and what comes back.

The gradient of task k at a weight is D_kᵀA with A [rows, inputs], what went into the layer, and D_k
[rows, outputs], what came back to its output. So ⟨D_kᵀA, D_lᵀA⟩ = ⟨(AAᵀ)D_k, D_l⟩, and the update
Σ_k w_k D_kᵀA = (Σ_k w_k D_k)ᵀA: no weight gradient of a single task is ever formed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import Node

from .products import inner
from .reach import is_leaf, leaf_of

_ADDMM, _MM, _TRANSPOSED = "AddmmBackward0", "MmBackward0", "TBackward0"
_WEIGHT_SLOT = {_ADDMM: 2, _MM: 1}
_WORTH_IT = 0.75
"""Share of the arithmetic of the ordinary way below which the other way is taken."""
_AMPLIFICATION = 10.0
"""Times the rounding error of float32 that an inner product may be off by."""


@dataclass(frozen=True)
class Layer:
    """A weight and all its uses.

    Args:
        weight: [outputs, inputs].
        nodes: One product each.
    """

    weight: Tensor
    nodes: tuple[Node, ...]

    def inputs(self) -> Float[Tensor, "rows inputs"]:
        """What went in; the rows of all uses one below the other, or cross terms would be lost."""
        parts = [_saved_input(node) for node in self.nodes]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cheaper(self, num_tasks: int) -> bool:
        """Whether AAᵀ takes clearly less arithmetic than the gradients of all tasks."""
        outputs, inputs = self.weight.shape
        rows = sum(_rows(node) for node in self.nodes)
        k = num_tasks
        short = rows * (rows * (inputs + k * outputs) + k * k * outputs)
        ordinary = k * inputs * outputs * (rows + k)
        return short < _WORTH_IT * ordinary


def linear_layers(nodes: Sequence[Node]) -> list[Layer]:
    """Weights all of whose uses are products with a transposed weight, as in ``nn.Linear``.

    Args:
        nodes: The trunk.
    """
    uses: dict[Node, list[tuple[Node, int]]] = {}
    for node in nodes:
        for slot, (child, _) in enumerate(node.next_functions):
            if child is not None:
                uses.setdefault(child, []).append((node, slot))
    layers = []
    for leaf, users in uses.items():
        if not is_leaf(leaf) or leaf_of(leaf).dim() != 2:
            continue
        products: list[Node] = []
        known = True
        for transposed, _ in users:
            by = uses.get(transposed, [])
            known = known and transposed.name() == _TRANSPOSED
            known = known and all(_is_product(node, slot) for node, slot in by)
            products += [node for node, _ in by]
        if known and products:
            layers.append(Layer(leaf_of(leaf), tuple(products)))
    return layers


def layer_gramian(
    a: Float[Tensor, "rows inputs"], back: Float[Tensor, "tasks rows outputs"], exact: bool
) -> Float[Tensor, "tasks tasks"]:
    """Inner products of the weight gradients D_kᵀA in float64.

    AAᵀ may cancel where the gradient is much shorter than its terms: then it is formed after all.

    Args:
        a: What went in.
        back: What came back.
        exact: Make every product in float64.
    """
    if exact:
        a, back = a.double(), back.double()
    k, rows, outputs = back.shape
    across = a @ a.T
    flat = back.reshape(k, -1)
    # One product for all tasks: [rows, rows] × [rows, tasks · outputs].
    turned = torch.matmul(across, back).view(k, rows * outputs)
    found = inner(turned, flat, exact)
    lengths = torch.linalg.vector_norm(flat, dim=1).double().square()
    bound = _AMPLIFICATION * rows * found.diagonal()
    if bool((torch.linalg.vector_norm(across).double() * lengths <= bound).all()):
        return found
    formed = torch.matmul(back.transpose(1, 2), a).view(k, -1)
    return inner(formed, formed, exact)


def _is_product(node: Node, slot: int) -> bool:
    name = node.name()
    if _WEIGHT_SLOT.get(name) != slot:
        return False
    plain: bool = name == _MM or (node._saved_alpha == 1 and node._saved_beta == 1)  # type: ignore[attr-defined]  # torch's names of what a node keeps
    return plain


def _saved_input(node: Node) -> Tensor:
    saved: Tensor = node._saved_mat1 if node.name() == _ADDMM else node._saved_self  # type: ignore[attr-defined]  # torch's names of what a node keeps
    return saved.detach()


def _rows(node: Node) -> int:
    return _saved_input(node).shape[0]
