"""The losses of mixed rows: two labels per row, each with its own loss."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .base import Mixing


def mixed_sums(
    own: Float[Tensor, "rows *k"],
    partner: Float[Tensor, "rows *k"],
    mask: Bool[Tensor, "rows *k"],
    row_weights: Tensor | None,
    mixing: Mixing,
) -> tuple[Float[Tensor, "*k"], Float[Tensor, "*k"]]:
    """Sums and counts of mixed losses over the rows whose two labels both exist.

    S = Σ_i m_i m_j (l_i w_i L(f(x̃_i), y_i) + (1 − l_i) w_j L(f(x̃_i), y_j)),
    n = Σ_i m_i m_j (l_i w_i + (1 − l_i) w_j)

    with j the partner of row i, l_i the share of its own label, m the mask and w the row weights.
    Losses are mixed, not labels: the mean of two classes is no class, and the mean of two numbers
    has another loss than the two have on average.

    Args:
        own: Unreduced loss against the row's own label.
        partner: Unreduced loss against the label of the partner: targets taken at
            ``mixing.partner``.
        mask: True where a row has a label of its own; the partner's is looked up here.
        row_weights: ``[rows]``, or None for ones.
        mixing: Partners and shares.

    Returns:
        Sums and counts of shape ``[*k]``.

    Note:
        A row counts only if both labels exist. Were one enough, the shares of a sparse task would
        depend on where its gaps are. The replaced cells are exact zeros, so that a filled gap
        contributes neither value nor gradient.

    Example:
        >>> mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.75, 0.75]))
        >>> own, partner = torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0], [6.0]])
        >>> mask = torch.tensor([[True], [True]])
        >>> [x.tolist() for x in mixed_sums(own, partner, mask, None, mixing)]
        [[5.0], [2.0]]

    Reference:
        Zhang, Cissé, Dauphin & Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018.
        https://arxiv.org/abs/1710.09412
    """
    both = known_pairs(mask, mixing)
    return (
        pair_sum(own, partner, both, row_weights, mixing),
        pair_counts(both, row_weights, mixing).to(own.dtype),
    )


def mixed_counts(
    mask: Bool[Tensor, "rows *k"], row_weights: Tensor | None, mixing: Mixing
) -> Float[Tensor, "*k"]:
    """The counts of `mixed_sums` without the sums: they are known before the forward pass.

    Args:
        mask: True where a row has a label of its own.
        row_weights: ``[rows]``, or None for ones.
        mixing: Partners and shares.

    Example:
        >>> mixing = Mixing(torch.tensor([1, 0, 2]), torch.tensor([0.5, 0.5, 0.5]))
        >>> mask = torch.tensor([[True, True], [True, False], [True, True]])
        >>> mixed_counts(mask, None, mixing).tolist()
        [3.0, 1.0]
    """
    return pair_counts(known_pairs(mask, mixing), row_weights, mixing)


def known_pairs(mask: Bool[Tensor, "rows *k"], mixing: Mixing) -> Bool[Tensor, "rows *k"]:
    """True where a row and its partner both have a label."""
    return mask & mask.index_select(0, mixing.partner)


def pair_sum(
    own: Float[Tensor, "rows *k"],
    partner: Float[Tensor, "rows *k"],
    both: Bool[Tensor, "rows *k"] | None,
    row_weights: Tensor | None,
    mixing: Mixing,
) -> Float[Tensor, "*k"]:
    """The sums of `mixed_sums`, for pairs that are known already; None: for all pairs."""
    if row_weights is None:
        mixed = torch.lerp(partner, own, mixing.share_for(own))
    else:
        shape = (-1,) + (1,) * (own.ndim - 1)
        shares = _row_shares(row_weights, mixing)
        first, second = (part.to(own.dtype).view(shape) for part in shares)
        mixed = first * own + second * partner
    return (mixed if both is None else torch.where(both, mixed, 0.0)).sum(0)


def pair_counts(
    both: Bool[Tensor, "rows *k"], row_weights: Tensor | None, mixing: Mixing
) -> Float[Tensor, "*k"]:
    """The counts of `mixed_sums`, for pairs that are known already."""
    if row_weights is None:
        share = mixing.share
        return both.sum(0, dtype=share.dtype if isinstance(share, Tensor) else torch.float32)
    first, second = _row_shares(row_weights, mixing)
    shape = (-1,) + (1,) * (both.ndim - 1)
    return torch.where(both, (first + second).view(shape), 0.0).sum(0)


def _row_shares(row_weights: Tensor, mixing: Mixing) -> tuple[Tensor, Tensor]:
    """Weights of a row's own label and of its partner's, ``[rows]`` each."""
    first, second = mixing.share, 1.0 - mixing.share
    return first * row_weights, second * row_weights.index_select(0, mixing.partner)
