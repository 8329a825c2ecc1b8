"""Statistics per domain are on where they are asked for, or it is an error that says why not."""

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from torch import nn

from mmstal_da.models.layers.domain_batch_norm import DomainNorm, convert_batch_norm
from tests.model_builders import build_detector, dual_batch, losses_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ('kind', 'more', 'words'),
    [
        ('SyncBN', {}, r'model\.backbone has \d+ others, such as bn1 \(SyncBatchNorm\)'),
        ('GN', {'num_groups': 2}, r'model\.backbone has none, only others such as gn1 \(GroupNorm'),
        ('IN', {}, r'model\.backbone has none, only others such as in1 \(InstanceNorm2d\)'),
    ],
)
def test_another_norm_is_named(kind, more, words):
    changes = {f'backbone.norm_cfg.{key}': value for key, value in more.items()}
    with pytest.raises(ValueError, match=words) as error:
        build_detector(domain_norm='target', **{'backbone.norm_cfg.type': kind, **changes})
    assert "norm_cfg to dict(type='BN')" in str(error.value)
    build_detector(**{'backbone.norm_cfg.type': kind, **changes})  # without domain_norm they may be


def test_some_layers_of_another_kind_are_too_many():
    norm = DomainNorm()
    mixed = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.SyncBatchNorm(2)))
    with pytest.raises(ValueError, match=r'others, such as 1\.0 \(SyncBatchNorm\)'):
        convert_batch_norm(mixed, norm)
    assert type(mixed[0]) is nn.BatchNorm2d  # nothing was done by halves
    # a norm without statistics of the batch has none to keep per domain
    assert convert_batch_norm(nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2)), norm) == 1
    with pytest.raises(ValueError, match='the network has none'):
        convert_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1)), norm)


@pytest.mark.slow
def test_layers_that_sync_bn_replaces_are_noticed():
    """MMEngine's key ``sync_bn`` left 0 of 100 layers, without a word."""
    model = build_detector(domain_norm='target')
    count = len(model.domain_norm.layers)
    assert count > 90
    assert 'loss_cls' in losses_of(model, dual_batch())
    model = convert_sync_batchnorm(model, 'torch')
    with pytest.raises(RuntimeError, match=f'{count} of {count} layers .* remove the key sync_bn'):
        losses_of(model, dual_batch())


@pytest.mark.slow
def test_a_copy_has_layers_of_its_own():
    """As MMEngine's EMA makes one."""
    import copy

    model = build_detector(domain_norm='target')
    other = copy.deepcopy(model)
    losses_of(other, dual_batch())
    ours, theirs = (dict(m.named_buffers()) for m in (model, other))
    key = 'backbone.bn1.target_running_mean'
    assert not torch.equal(ours[key], theirs[key])
    assert {id(layer) for layer in other.domain_norm.layers} <= {id(m) for m in other.modules()}
