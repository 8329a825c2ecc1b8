"""Mixed precision that also runs without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from mmstal_da.registry import OPTIM_WRAPPERS

from .precision import bfloat16_or_float32


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward in bfloat16 autocast, on CPU or GPU; in float32 if bfloat16 is not native.

    MMEngine's ``AmpOptimWrapper`` needs a GPU. bfloat16 has float32's range, so losses need no
    scaling. This is the plain wrapper with autocast around the forward pass.

    Attributes:
        dtype: The type it computes in: ``torch.bfloat16`` or ``torch.float32``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.dtype = bfloat16_or_float32()

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        """Autocast, inside the context of the plain wrapper."""
        device = get_device().split(':')[0]
        enabled = self.dtype == torch.bfloat16
        with (
            super().optim_context(model),
            torch.autocast(device, dtype=torch.bfloat16, enabled=enabled),
        ):
            yield
