"""Other libraries in the same rotation, if they can be imported.

torchjd: ``mtl_backward`` and ``jac_to_grad`` as documented. LibMTL: its weighting classes in a
minimal harness that gathers losses as its trainer does, without its metric bookkeeping; the folder
of a checkout is named by the variable LIBMTL.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.balancing.models import Net
from benchmarks.libmtl import libmtl_weighting

Make = Callable[[Net], Callable[[Net], object]]


def peers() -> dict[str, Make]:
    """Name → a function of a model that returns the body of its step."""
    return {**_torchjd(), **_libmtl()}


def _torchjd() -> dict[str, Make]:
    try:
        autojac = importlib.import_module("torchjd.autojac")
        aggregation = importlib.import_module("torchjd.aggregation")
    except ImportError:
        return {}

    def make(method: str, **options: Any) -> Make:
        def of(_: Net) -> Callable[[Net], object]:
            aggregator = getattr(aggregation, method)()

            def body(own: Net) -> None:
                z = own.trunk(own.x)
                autojac.mtl_backward(own.losses(z), features=z, **options)
                autojac.jac_to_grad(list(own.trunk.parameters()), aggregator)

            return body

        return of

    return {
        "torchjd: UPGrad": make("UPGrad"),
        "torchjd: UPGrad, one by one": make("UPGrad", parallel_chunk_size=1),
    }


def _libmtl() -> dict[str, Make]:
    weighting = libmtl_weighting()
    if weighting is None:
        return {}

    def make(method: str, **options: Any) -> Make:
        def of(own: Net) -> Callable[[Net], object]:
            way = _harness(getattr(weighting, method), own)

            def body(own: Net) -> None:
                losses = torch.zeros(len(own.heads))
                for k, loss in enumerate(own.losses()):
                    losses[k] = loss
                way.backward(losses, **options)

            return body

        return of

    return {
        "LibMTL: EW": make("EW"),
        "LibMTL: UPGrad": make("UPGrad", UPGrad_norm_eps=1e-4, UPGrad_reg_eps=1e-4),
        "LibMTL: IMTL": make("IMTL"),
    }


def _harness(method: type, own: Net) -> Any:
    """What the classes of LibMTL ask of the architecture that they are mixed into."""

    class Harness(method):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.task_num, self.task_name = len(own.heads), own.names
            self.device, self.rep_grad = torch.device("cpu"), False
            self.epoch = 0
            self.init_param()

        def get_share_params(self) -> Any:
            return own.trunk.parameters()

        def zero_grad_share_params(self) -> None:
            own.trunk.zero_grad(set_to_none=False)

    return Harness()
