"""I3D against the layout of the public network: names, shapes, parameters, padding."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmstal_da.models.backbones.inception_blocks import (
    InceptionModule,
    MaxPool3dSame,
    Unit3D,
    same_padding,
)
from mmstal_da.models.backbones.inception_i3d import ENDPOINTS, InceptionI3D, endpoint_channels
from mmstal_da.models.layers.batch_layout import BatchLayout
from mmstal_da.models.roi_heads.inception_roi_stage import InceptionRoIStage

# (channels, t, h, w) of the published Inception-v1 I3D on a 64 x 224 x 224 clip
PUBLISHED = {
    'Conv3d_1a_7x7': (64, 32, 112, 112),
    'MaxPool3d_2a_3x3': (64, 32, 56, 56),
    'Conv3d_2b_1x1': (64, 32, 56, 56),
    'Conv3d_2c_3x3': (192, 32, 56, 56),
    'MaxPool3d_3a_3x3': (192, 32, 28, 28),
    'Mixed_3b': (256, 32, 28, 28),
    'Mixed_3c': (480, 32, 28, 28),
    'MaxPool3d_4a_3x3': (480, 16, 14, 14),
    'Mixed_4b': (512, 16, 14, 14),
    'Mixed_4c': (512, 16, 14, 14),
    'Mixed_4d': (512, 16, 14, 14),
    'Mixed_4e': (528, 16, 14, 14),
    'Mixed_4f': (832, 16, 14, 14),
    'MaxPool3d_5a_2x2': (832, 8, 7, 7),
    'Mixed_5b': (832, 8, 7, 7),
    'Mixed_5c': (1024, 8, 7, 7),
}


@pytest.mark.slow
def test_layer_shapes_are_the_published_ones():
    with torch.device('meta'):
        net = InceptionI3D(end_point='Logits', num_classes=400)
        x = torch.empty(1, 3, 64, 224, 224)
        for name in net.endpoint_names:
            x = getattr(net, name)(x)
            assert tuple(x.shape[1:]) == PUBLISHED[name], name
            assert endpoint_channels(name) == PUBLISHED[name][0]
        assert net(torch.empty(1, 3, 64, 224, 224)).shape == (1, 400)


def test_parameter_count_is_the_published_one():
    """By hand from the published layer table (without BN gamma: TensorFlow's I3D has none)."""
    with torch.device('meta'):
        net = InceptionI3D(end_point='Logits', num_classes=400)
    convs = sum(p.numel() for n, p in net.named_parameters() if n.endswith('conv3d.weight'))
    beta = sum(p.numel() for n, p in net.named_parameters() if n.endswith('bn.bias'))
    # by hand from the layer table: kernels, then one BN beta per output channel
    kernels = 64 * 3 * 343 + 64 * 64 + 192 * 64 * 27
    outputs = 64 + 64 + 192
    channels = 192
    for spec in ENDPOINTS.values():
        if spec[0] == 'mixed':
            a, b, c, d, e, f = spec[1]
            kernels += channels * (a + b + d + f) + 27 * (b * c + d * e)
            outputs += a + b + c + d + e + f
            channels = a + c + e + f
    assert convs == kernels + 1024 * 400
    assert beta == outputs


def test_parameter_names_are_the_public_ports():
    names = InceptionI3D(end_point='Logits', num_classes=400, width=0.05).state_dict().keys()
    for name in (
        'Conv3d_1a_7x7.conv3d.weight',
        'Conv3d_2c_3x3.bn.running_var',
        'Mixed_3b.b0.bn.running_mean',
        'Mixed_4f.b1b.conv3d.weight',
        'Mixed_5c.b3b.bn.num_batches_tracked',
        'logits.conv3d.weight',
        'logits.conv3d.bias',
    ):
        assert name in names
    # 57 convolutions with BN (weight + 5 of BN), and the classifier's weight and bias
    assert len(names) == 57 * 6 + 2
    unit = InceptionI3D(width=0.05).Mixed_3b.b0
    assert unit.bn.eps == 1e-3 and unit.conv3d.bias is None


@pytest.mark.parametrize('size', range(1, 12))
@pytest.mark.parametrize(('kernel', 'stride'), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 2)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    """TensorFlow's rule: out = ceil(in / stride), the odd zero at the end."""
    out = int(np.ceil(size / stride))
    total = max((out - 1) * stride + kernel - size, 0)
    assert same_padding(size, kernel, stride) == (total // 2, total - total // 2)


def test_convolution_equals_explicit_padding():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 5, 9, 8)
    pads = [p for size in (8, 9, 5) for p in same_padding(size, 3, 2)]
    unit = Unit3D(3, 4, (3, 3, 3), (2, 2, 2)).eval()
    by_hand = F.relu(unit.bn(F.conv3d(F.pad(x, pads), unit.conv3d.weight, stride=2)))
    torch.testing.assert_close(unit(x), by_hand)


@pytest.mark.parametrize('size', range(1, 10))
@pytest.mark.parametrize(('kernel', 'stride'), [(3, 2), (3, 1), (2, 2)])
def test_pooling_equals_explicit_padding(size, kernel, stride):
    torch.manual_seed(0)
    x = torch.rand(2, 3, size, 9, 8)
    pads = [p for length in (8, 9, size) for p in same_padding(length, kernel, stride)]
    pool = MaxPool3dSame((kernel,) * 3, (stride,) * 3)
    torch.testing.assert_close(pool(x), F.max_pool3d(F.pad(x, pads), kernel, stride))
    torch.testing.assert_close(
        pool(x[:, :, 0]), F.max_pool2d(F.pad(x[:, :, 0], pads[:4]), kernel, stride)
    )


def test_one_time_step_in_two_dimensions_is_the_clip_of_length_one():
    torch.manual_seed(0)
    module = InceptionModule(6, (4, 3, 5, 2, 4, 3)).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            layer.running_mean.normal_()
    x = torch.rand(3, 6, 7, 7)
    torch.testing.assert_close(module(x), module(x.unsqueeze(2)).squeeze(2))


def test_roi_stage_is_the_rest_of_the_network():
    """Weights of a whole I3D split over backbone and RoI stage give its features."""
    torch.manual_seed(0)
    whole = InceptionI3D(end_point='Mixed_5c', width=0.1).eval()
    stage = InceptionRoIStage(width=0.1).eval()
    own = {k: v for k, v in whole.state_dict().items() if k.startswith('Mixed_5')}
    stage.load_state_dict(own)
    x = torch.rand(2, endpoint_channels('Mixed_4f', 0.1), 7, 7)
    expected = whole.Mixed_5c(whole.Mixed_5b(x.unsqueeze(2))).squeeze(2)
    torch.testing.assert_close(stage(x), expected)
    assert stage.out_channels == expected.shape[1]


@pytest.mark.slow
def test_stops_anywhere_and_names_what_it_does_not_know():
    for name in ENDPOINTS:
        net = InceptionI3D(end_point=name, width=0.05).eval()
        assert net(torch.rand(1, 3, 8, 32, 32)).shape[1] == net.out_channels
    with pytest.raises(ValueError, match='Mixed_9z.*Mixed_4f'):
        InceptionI3D(end_point='Mixed_9z')
    with pytest.raises(ValueError, match='num_classes'):
        InceptionI3D(end_point='Logits')
    with pytest.raises(ValueError, match='no endpoint .Mixed_3b. after'):
        InceptionRoIStage(end_point='Mixed_3b')


def test_frozen_layers_do_not_train():
    net = InceptionI3D(width=0.05, frozen_end_point='Conv3d_2c_3x3').train()
    assert not net.Conv3d_1a_7x7.bn.training and net.Mixed_3b.b0.bn.training
    assert not any(p.requires_grad for p in net.Conv3d_2c_3x3.parameters())
    assert not InceptionI3D(width=0.05, norm_eval=True).train().Mixed_4f.b0.bn.training


@pytest.mark.slow
@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('padded', [False, True])
def test_a_clip_keeps_its_memory_format(threads, padded):
    """No layer copies it into another one, in forward or backward, whatever the threads."""
    network = InceptionI3D(width=0.25, norm_eval=True).train()
    layout = BatchLayout()
    layout.cover(network)
    wrong = []

    def look(x: torch.Tensor, where: str) -> None:
        if not x.is_contiguous(memory_format=torch.channels_last_3d):
            wrong.append(where)

    def note(name: str):
        def hook(module, inputs, output):
            look(inputs[0], f'{name} in')
            look(output, f'{name} out')

        return hook

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm3d | MaxPool3dSame):
            module.register_forward_hook(note(name))
    meta = dict(pad_shape=(48, 60), batch_input_shape=(48, 64))
    samples = [SimpleNamespace(metainfo=meta) for _ in range(2)] if padded else []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with layout.images(samples):
            network(torch.rand(2, 3, 8, 48, 64))
    finally:
        torch.set_num_threads(before)
    assert wrong == []


@pytest.mark.parametrize('bias', [False, True])
def test_a_pointwise_convolution_is_a_product_of_matrices(bias):
    torch.manual_seed(0)
    unit = Unit3D(6, 4, use_bn=not bias).double()
    clip = torch.rand(2, 6, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    found = unit._convolve(clip)
    weight, extra = unit.conv3d.weight, unit.conv3d.bias
    expected = torch.einsum('oi,nithw->nothw', weight[:, :, 0, 0, 0], clip)
    if bias:
        expected = expected + extra.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(found, expected)
    seed = torch.rand_like(found)
    ours, theirs = (
        torch.autograd.grad(x, [clip, weight], seed, retain_graph=True) for x in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
