"""Where a model has dropout."""

from torch import nn

DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def dropout_attribute(module: nn.Module) -> str | None:
    """The attribute that holds a module's dropout probability, or None if it has no dropout.

    Layers call it ``p``. Modules with dropout of their own inside (stacked heads, attention,
    recurrent layers) call it ``dropout`` and read it at every forward pass.

    Args:
        module: Any module; its children are not looked at.

    Example:
        >>> dropout_attribute(nn.Dropout(0.1)), dropout_attribute(nn.GRU(1, 1, dropout=0.0))
        ('p', 'dropout')
    """
    if isinstance(module, DROPOUTS):
        return "p"
    return "dropout" if isinstance(getattr(module, "dropout", None), float) else None
