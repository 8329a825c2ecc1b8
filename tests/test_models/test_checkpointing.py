"""Gradient checkpointing (``with_cp``) changes no gradient and no statistic."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.models.layers.batch_layout import BatchLayout
from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert_batch_norm
from tests.model_builders import build_detector, losses_of
from tests.test_models.test_padding import FROZEN, NO_DROPOUT, batch, roused

SIZES = {'one size': [(48, 64)] * 4, 'padded': [(48, 64), (41, 80), (48, 64), (48, 48)]}


def step(domain_norm, norm_eval: bool, sizes: list, with_cp: bool, steps: int = 2):
    """Gradients and state after some steps of the whole detector."""
    changes = {key: with_cp for key in ('backbone.with_cp', 'clip_backbone.with_cp')}
    changes |= FROZEN if norm_eval else {}
    detector = roused(build_detector(NO_DROPOUT, domain_norm=domain_norm, **changes))
    for _ in range(steps):
        detector.zero_grad()
        losses = losses_of(detector, batch(*sizes, target=2))
        values = [v[0] if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k]
        sum(v.sum() for v in values).backward()
    gradients = {n: p.grad for n, p in detector.named_parameters() if p.grad is not None}
    return gradients, detector.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize('sizes', SIZES)
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('domain_norm', [None, 'target'])
def test_gradients_and_statistics_are_those_without(domain_norm, norm_eval, sizes):
    ours, expected = (step(domain_norm, norm_eval, SIZES[sizes], cp) for cp in (True, False))
    for part, other in zip(ours, expected, strict=True):
        assert part.keys() == other.keys()
        for key, value in other.items():
            counts = key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
            if counts and domain_norm is None and not norm_eval and key.startswith('backbone.'):
                continue  # ResNet's plain batch norm counts a batch twice, as everywhere
            difference = (part[key] - value).detach().double().norm()
            assert difference <= 1e-5 + 1e-4 * value.detach().double().norm(), key


def test_i3d_computes_again_what_trains_and_counts_no_batch_twice():
    passes, results = [], []
    for with_cp in (True, False):
        torch.manual_seed(0)
        net = InceptionI3D('Mixed_3c', 0.1, frozen_end_point='Conv3d_2c_3x3', with_cp=with_cp)
        calls = Counter()
        for name in net.endpoint_names:
            count = partial(lambda found, key, *_: found.update([key]), calls, name)
            getattr(net, name).register_forward_hook(count)
        for seed in range(2):  # the statistics move between the steps
            clip = torch.randn(2, 3, 4, 24, 24, generator=torch.Generator().manual_seed(seed))
            net(clip).square().sum().backward()
        gradients = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        results.append((gradients, net.state_dict()))
        with torch.no_grad():
            net(clip)
        passes.append(calls)
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)
    assert gradients
    assert passes[1] == dict.fromkeys(net.endpoint_names, 3)
    again = {'Mixed_3b', 'Mixed_3c'}  # what lies before gets no gradient
    assert passes[0] == {name: 5 if name in again else 3 for name in net.endpoint_names}


def tiny(training: bool, domain_norm: bool = True):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    nn.init.uniform_(net[1].weight)
    nn.init.uniform_(net[1].bias)
    norm = DomainNorm('target') if domain_norm else BatchLayout()
    if domain_norm:
        assert convert_batch_norm(net, norm) == 1
    return net.train(training), norm


@pytest.mark.parametrize('reentrant', [True, False])
@pytest.mark.parametrize('training', [True, False])
def test_a_layer_that_is_computed_again_knows_its_batch(training, reentrant):
    results = []
    for checkpointed in (True, False):
        net, norm = tiny(training)
        x = torch.randn(5, 3, 6, 7, generator=torch.Generator().manual_seed(1))
        x = (x + torch.arange(5.0).view(5, 1, 1, 1)).requires_grad_()
        for factor in (1.0, 3.0):  # the statistics move between the steps
            norm.begin_step()
            with (
                norm.joint(2),
                norm._changed(sizes=((6, 7), (4, 5), (6, 7), (6, 3), (5, 5)), full=(6, 7)),
            ):
                y = (
                    checkpoint(net, factor * x, use_reentrant=reentrant)
                    if checkpointed
                    else net(factor * x)
                )
            y.square().sum().backward()
        results.append([x.grad, *(p.grad for p in net.parameters()), *net.state_dict().values()])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_plain_layer_after_a_padded_step_has_forgotten_it():
    net, layout = tiny(False, domain_norm=False)
    layout.cover(net)
    x = torch.randn(2, 3, 4, 4).requires_grad_()
    with layout._changed(sizes=((2, 2), (4, 4)), full=(4, 4)):
        checkpoint(net, x, use_reentrant=False).sum().backward()
    x.grad = None
    checkpoint(net, x, use_reentrant=False).square().sum().backward()
    (expected,) = torch.autograd.grad(net(x).square().sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_several_passes_of_one_layer_are_refused():
    """It is not known for which of them backward computes the layer again."""
    net, norm = tiny(True)
    x = torch.randn(4, 3, 5, 5).requires_grad_()
    with norm.joint(2):
        first = checkpoint(net, x, use_reentrant=False)
    with norm.source_only():
        second = checkpoint(net, x, use_reentrant=False)
    with pytest.raises(RuntimeError, match='with 2 different batches: set with_cp=False'):
        (first + second).sum().backward()
