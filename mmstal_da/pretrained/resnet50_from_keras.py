"""ResNet-50 trained on ImageNet: converts Keras' variables to the names of torchvision and mmdet.

The network is the original one of He et al.: the stride of a stage is in its first 1x1
convolution (mmdet's ``style='caffe'``), and images are BGR minus (103.939, 116.779, 123.68).
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

KERAS_EPS = 1e-3  # batch norm's, where PyTorch has
TORCH_EPS = 1e-5


def from_keras(layers: Mapping[str, list[np.ndarray]]) -> dict[str, Tensor]:
    """Rename and transpose the weights, and fold two differences into the batch norm.

    A convolution's bias is folded into the mean of the batch norm after it. The difference of the
    two epsilons is folded into its variance. So mmdet's ``ResNet(depth=50, style='caffe')``
    computes the same function without the bias and with its own epsilon.

    Args:
        layers: Layer name -> its weights in Keras' order: ``[kernel (h, w, in, out), bias]`` for
            convolutions and the classifier, ``[gamma, beta, mean, variance]`` for batch norm.

    Returns:
        State dict of a ResNet-50, kernels (out, in, h, w), with ``fc``.

    Raises:
        ValueError: ResNet-50 does not have a layer, or a layer is missing.
    """
    state: dict[str, Tensor] = {}
    for name, weights in layers.items():
        if name == 'fc1000':
            kernel, bias = weights
            state['fc.weight'], state['fc.bias'] = _tensor(kernel.T), _tensor(bias)
        elif not name.startswith('bn'):
            conv, norm = _rename(name)
            kernel, bias = weights
            norm_name = 'bn_conv1' if name == 'conv1' else 'bn' + name.removeprefix('res')
            if norm_name not in layers:
                raise ValueError(f'no batch norm {norm_name} after {name}')
            gamma, beta, mean, variance = layers[norm_name]
            state[f'{conv}.weight'] = _tensor(kernel.transpose(3, 2, 0, 1))
            state[f'{norm}.weight'] = _tensor(gamma)
            state[f'{norm}.bias'] = _tensor(beta)
            state[f'{norm}.running_mean'] = _tensor(mean - bias)
            state[f'{norm}.running_var'] = _tensor(variance + (KERAS_EPS - TORCH_EPS))
    return state


def _rename(layer: str) -> tuple[str, str]:
    """Names of a convolution and of its batch norm."""
    if layer == 'conv1':
        return 'conv1', 'bn1'
    match = re.fullmatch(r'res([2-5])([a-f])_branch(1|2[abc])', layer)
    if not match:
        raise ValueError(f'{layer!r} is not a layer of ResNet-50')
    stage, block, branch = match.groups()
    parent = f'layer{int(stage) - 1}.{ord(block) - ord("a")}'
    if branch == '1':
        return f'{parent}.downsample.0', f'{parent}.downsample.1'
    number = ord(branch[1]) - ord('a') + 1
    return f'{parent}.conv{number}', f'{parent}.bn{number}'


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
