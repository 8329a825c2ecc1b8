"""Mixed precision that also runs where there is no GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from mmstal_da.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward in bfloat16 autocast, on CPU or GPU.

    MMEngine's ``AmpOptimWrapper`` asks for a GPU. bfloat16 has float32's range, so losses need no
    scaling and this is the plain wrapper with autocast around the forward pass.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        """Autocast, inside what the plain wrapper does."""
        device = get_device().split(':')[0]
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
