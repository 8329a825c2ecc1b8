"""Pretrained weights that load completely or not at all."""

import urllib.error
from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmstal_da.models.layers.domain_batch_norm import TARGET_BUFFERS

# a counter that older checkpoints lack, and buffers that per-domain batch norm initialises from
# the source's
OPTIONAL = ('num_batches_tracked', *TARGET_BUFFERS)


@WEIGHT_INITIALIZERS.register_module()
class StrictPretrained:
    """MMEngine's ``Pretrained``, except that missing or mismatching keys are an error.

    Used as ``init_cfg=dict(type='StrictPretrained', checkpoint='…')``.

    Args:
        checkpoint: A file, a URL, or a name with one of MMEngine's prefixes
            (``torchvision://resnet50``).
        prefix: Only keys beginning with this are read, without it (``'backbone.'``).
        unused: Beginnings of keys that the checkpoint may have although the module lacks them,
            e.g. ``('layer4.', 'fc.')`` for a ResNet-50 that stops at C4.
        map_location: As :func:`torch.load`.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        unused: Sequence[str] = (),
        map_location: str = 'cpu',
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.unused = tuple(unused)
        self.map_location = map_location

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            FileNotFoundError: There is no such file, or nothing at the URL.
            RuntimeError: Keys are missing, unexpected or of another shape. The error lists them,
                and ``module`` is unchanged.
        """
        try:
            loaded = CheckpointLoader.load_checkpoint(
                self.checkpoint, map_location=self.map_location, logger='current'
            )
        except (FileNotFoundError, urllib.error.URLError) as error:
            raise FileNotFoundError(
                f'no checkpoint {self.checkpoint!r} for {type(module).__name__} ({error}); get it '
                "(tools/get_weights.py has the usual ones), correct init_cfg['checkpoint'], or "
                'set init_cfg=None to train from scratch'
            ) from error
        # training checkpoints and the authors' files nest the weights under this key
        state = self._select(loaded.get('state_dict', loaded))
        problems = compare_state(state, module.state_dict())
        if problems:
            raise RuntimeError(
                f'{self.checkpoint} does not fit {type(module).__name__}, nothing was loaded:\n  '
                + '\n  '.join(problems)
            )
        module.load_state_dict(state, strict=False)
        # MMEngine initialises children after their parent, with this exception: mmcv's ConvModule
        # would otherwise replace the loaded weights by random ones
        for child in module.children():
            child.is_init = True  # type: ignore[assignment]
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'StrictPretrained: load from {self.checkpoint}')
        print_log(
            f'{type(module).__name__}: {len(state)} tensors from {self.checkpoint}', 'current'
        )

    def _select(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entries under the prefix that are not declared unused."""
        prefix = self.prefix or ''
        state = {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
        return {key: v for key, v in state.items() if not key.startswith(self.unused or ('\0',))}


def compare_state(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """The differences because of which one state dict cannot fill another.

    Args:
        given: The checkpoint's state dict.
        wanted: The module's state dict. Keys in ``OPTIONAL`` may be missing from ``given``.

    Returns:
        A line per key that is missing, unexpected or of another shape; empty if they fit.
    """
    lines = [f'missing: {key}' for key in wanted if key not in given and not key.endswith(OPTIONAL)]
    lines += [f'unexpected: {key}' for key in given if key not in wanted]
    lines += [
        f'shape of {key}: {tuple(given[key].shape)} in the checkpoint, '
        f'{tuple(wanted[key].shape)} in the module'
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    return lines
