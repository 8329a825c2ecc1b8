"""I3D trained on Kinetics-400, in the parameter names of the public PyTorch port."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# positions of a branch's two convolutions in TensorFlow's graph, and their names in the port
BRANCHES = {
    'Branch_0/Conv3d_0a_1x1': 'b0',
    'Branch_1/Conv3d_0a_1x1': 'b1a',
    'Branch_1/Conv3d_0b_3x3': 'b1b',
    'Branch_2/Conv3d_0a_1x1': 'b2a',
    'Branch_2/Conv3d_0b_3x3': 'b2b',
    'Branch_3/Conv3d_0b_1x1': 'b3b',
}
CLASSIFIER = 'Logits/Conv3d_0c_1x1'


def from_flax(variables: Mapping) -> dict[str, Tensor]:
    """Rename and transpose the variables of a Flax I3D.

    Args:
        variables: ``{'params': …, 'batch_stats': …}``, nested by layer name as in DeepMind's
            graph. Kernels are (t, h, w, in, out). Batch norm has ``bias``, ``mean`` and ``var``
            and, as in the original, no scale.

    Returns:
        State dict of ``InceptionI3D(end_point='Logits', num_classes=400)``: kernels
        (out, in, t, h, w), batch-norm scales of one.

    Raises:
        ValueError: I3D does not have a layer, or a value is of another kind.
    """
    state: dict[str, Tensor] = {}
    stats = _layers(variables['batch_stats'])
    for name, values in _layers(variables['params']).items():
        layer, _, kind = name.rpartition('/')
        target = _rename(layer)
        if kind == 'Conv_0' and set(values) <= {'kernel', 'bias'}:
            state[f'{target}.conv3d.weight'] = _tensor(values['kernel'].transpose(4, 3, 0, 1, 2))
            if 'bias' in values:
                state[f'{target}.conv3d.bias'] = _tensor(values['bias'])
        elif kind == 'BatchNorm_0' and set(values) == {'bias'} and name in stats:
            bias = _tensor(values['bias'])
            state[f'{target}.bn.weight'] = torch.ones_like(bias)
            state[f'{target}.bn.bias'] = bias
            state[f'{target}.bn.running_mean'] = _tensor(stats[name]['mean'].reshape(-1))
            state[f'{target}.bn.running_var'] = _tensor(stats[name]['var'].reshape(-1))
        else:
            raise ValueError(f'{name} with {sorted(values)} is not a layer of I3D')
    return state


def _layers(tree: Mapping, prefix: str = '') -> dict[str, dict[str, np.ndarray]]:
    """Innermost mappings of a nested one, by their path."""
    if all(isinstance(value, np.ndarray) for value in tree.values()):
        return {prefix.rstrip('/'): dict(tree)}
    layers = {}
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            raise ValueError(f'{prefix}{key} is a {type(value).__name__}, not arrays by name')
        layers.update(_layers(value, f'{prefix}{key}/'))
    return layers


def _rename(layer: str) -> str:
    if layer == CLASSIFIER:
        return 'logits'
    module, _, branch = layer.partition('/')
    if not branch:
        return module
    if branch not in BRANCHES:
        raise ValueError(f'{layer} is not a layer of I3D')
    return f'{module}.{BRANCHES[branch]}'


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
