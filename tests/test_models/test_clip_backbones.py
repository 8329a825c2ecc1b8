"""MMAction2's clip backbones in place of I3D: they fit by config and adapt; errors name the key."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmstal_da.errors import ConfigError
from mmstal_da.models.detectors.clip_map import clip_map
from mmstal_da.models.layers import domain_batch_norm
from mmstal_da.pretrained.strict import StrictPretrained, compare_state
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from tests.model_builders import (
    build_detector,
    collate,
    dual_batch,
    losses_of,
    module_configs,
    packed,
    plain_batch,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/clip_backbones'
NAMES = ('slowonly', 'slowfast', 'mvit', 'videomae')
MMACTION = Path(__import__('mmaction').__file__).parent / '.mim/configs'
DA_LOSSES = {'loss_da_spatial', 'loss_da_timg', 'loss_da_tinst'}


@cache
def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'full_{name}.py')


def build(name: str, seed: int = 0, **changes):
    """The model of a config of configs/clip_backbones."""
    register_all_modules()
    config = copy.deepcopy(_read(name))
    config.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(seed)
    detector = MODELS.build(config.model)
    detector.init_weights()
    return detector.train()


@cache
def full_size(name: str) -> torch.nn.Module:
    """The model of a full-size config, without memory for its weights."""
    register_all_modules()
    return MODELS.build(copy.deepcopy(_read(name).model)).to('meta').eval()


def total(losses: dict, keys: set[str]) -> torch.Tensor:
    values = [value for key, value in losses.items() if key in keys]
    return sum(sum(value) if isinstance(value, list) else value for value in values)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_narrow_detector_adapts_and_predicts(name):
    detector = build(f'{name}_narrow')
    losses = losses_of(detector, dual_batch(n=1, size=(96, 128)))
    assert losses.keys() >= DA_LOSSES
    # the reversed gradient reaches the clip backbone
    first = next(p for p in detector.clip_backbone.parameters() if p.requires_grad and p.dim() > 1)
    total(losses, DA_LOSSES).backward(retain_graph=True)
    assert first.grad.isfinite().all() and first.grad.any()
    # DDP needs a gradient of every parameter that trains
    total(losses, {key for key in losses if 'loss' in key}).backward()
    for key, parameter in detector.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, key
    data = detector.eval().data_preprocessor(plain_batch(n=2, size=(80, 112)), False)
    with torch.no_grad():
        results = detector(**data, mode='predict')
    for sample in results:
        assert sample.pred_instances.scores.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_full_size_parts_fit_together(name):
    """On the meta device: the widths and strides of the paper's frame size, without computing."""
    detector = full_size(name)
    length = 16 if name == 'videomae' else 20
    clip = torch.empty(1, 3, length, 256, 320, device='meta')
    spatial, temporal = detector.extract_feat(dict(clip=clip, key_frame=clip[:, :, 0]))
    assert spatial.shape == (1, 1024, 16, 20)
    width = {'slowonly': 1024, 'slowfast': 2304, 'mvit': 768, 'videomae': 768}[name]
    assert temporal.shape == (1, width, 16, 20)
    stage = detector.roi_head.shared_head
    detector.roi_head._check_fit(stage(torch.empty(4, width, 7, 7, device='meta')))
    assert detector.adaptation.temporal_image.conv1.in_channels == width
    assert detector.adaptation.temporal_instance.layers[0].in_features == stage.out_channels


def recogniser_of(pattern: str, file: Path | None = None, **changes) -> torch.nn.Module:
    """The backbone of MMAction2's own recogniser; a checkpoint as its tools write it."""
    register_all_modules()
    (path,) = MMACTION.glob(f'recognition/{pattern}')
    config = Config.fromfile(path)
    config.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(3)
    init_default_scope('mmaction')
    recogniser = MODELS.build(dict(config.model, _scope_='mmaction'))
    init_default_scope('mmstal_da')
    for layer in recogniser.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.running_mean.normal_()
    if file is not None:
        torch.save(dict(state_dict=recogniser.state_dict(), meta={}), file)
    recogniser.eval()
    return recogniser.backbone


RECOGNISERS = {
    'slowonly': 'slowonly/slowonly_imagenet-*4x16x1-*kinetics400-rgb.py',
    'slowfast': 'slowfast/slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb.py',
    'mvit': 'mvit/mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb.py',
}


@pytest.mark.slow
@pytest.mark.parametrize('name', RECOGNISERS)
def test_the_full_size_parts_take_all_weights_of_mmaction2s_recogniser(name):
    """The recogniser whose file the config downloads: names and shapes of its weights."""
    backbone = recogniser_of(RECOGNISERS[name], **{'backbone.pretrained': None})
    given = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    model = full_size(name)
    parts = [model.clip_backbone]
    parts += [model.roi_head.shared_head] * (name == 'slowonly')
    for part in parts:
        config = dict(part.init_cfg)
        assert config.pop('type') == 'StrictPretrained'
        assert compare_state(StrictPretrained(**config)._select(given), part.state_dict()) == []


def test_maps_of_a_smaller_stride_are_averaged_over_the_key_frames_cells():
    rng = np.random.default_rng(0)
    fine = rng.normal(size=(2, 3, 5, 8, 12)).astype(np.float32)
    expected = fine.mean(2).reshape(2, 3, 4, 2, 6, 2).mean((3, 5))
    torch.testing.assert_close(
        clip_map(torch.from_numpy(fine), (4, 6), 'X'), torch.from_numpy(expected)
    )


def test_maps_of_a_larger_stride_keep_every_place():
    """A map that holds its cells' centres in pixels holds the key frame's centres afterwards."""
    ramp = torch.arange(5) * 32.0 + 16
    coarse = torch.stack(torch.meshgrid(ramp, ramp, indexing='ij'))[None]  # (1, 2, 5, 5)
    fine = clip_map(coarse, (10, 10), 'X')
    centres = torch.arange(10) * 16.0 + 8
    expected = torch.stack(torch.meshgrid(centres, centres, indexing='ij'))[None]
    # at the border bilinear interpolation repeats the outer cells
    torch.testing.assert_close(fine[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_pathways_are_averaged_over_time_and_concatenated():
    slow, fast = torch.randn(2, 4, 2, 3, 5), torch.randn(2, 3, 8, 6, 10)
    out = clip_map((slow, fast), (3, 5), 'X')
    torch.testing.assert_close(out[:, :4], slow.mean(2))
    torch.testing.assert_close(out[:, 4:], torch.nn.functional.avg_pool2d(fast.mean(2), 2))
    same = torch.randn(1, 2, 3, 5)
    assert clip_map(same, (3, 5), 'X') is same


@pytest.mark.parametrize(
    ('output', 'message'),
    [
        (
            [[torch.zeros(1, 2, 3, 3), torch.zeros(1, 2)]],
            'Net returned 2 tensors.*output_cls_token',
        ),
        (torch.zeros(1, 768), r'it returned \(1, 768\), a vector per clip.*return_feat_map'),
        (torch.zeros(1, 10, 768), 'a sequence of tokens'),
        (dict(x=1), 'it returned dict'),
        ((), 'returned nothing'),
        (torch.zeros(1, 8, 4, 5), 'has 4 x 5 cells.*7 x 10.*pad_size_divisor'),
        (torch.zeros(1, 8, 14, 30), 'has 14 x 30 cells'),
    ],
)
def test_what_is_no_map_is_an_error(output, message):
    with pytest.raises(RuntimeError, match=f'model.clip_backbone: .*{message}'):
        clip_map(output, (7, 10), 'Net')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        (
            'slowonly_narrow',
            {'roi_head.bbox_roi_extractor.out_channels': 1024},
            'model.clip_backbone: ResNet3dSlowOnly gives 256 channels, but'
            ' model.roi_head.bbox_roi_extractor.out_channels is 1024; set it to 256',
        ),
        (
            'slowonly_narrow',
            {'rpn_head.in_channels': 128},
            'model.backbone: ResNet gives 256 channels, but model.rpn_head.in_channels is 128',
        ),
        (
            'slowonly_narrow',
            {'roi_head.bbox_head.in_channels': 256},
            r'ResNet3dRoIStage gives RoI features \(512, 4, 4\), bbox_head takes \(256, 4, 4\); set'
            ' bbox_head.in_channels=512 and roi_feat_size=4',
        ),
        (
            'slowonly_narrow',
            {'roi_head.shared_head.spatial_stride': 2},
            r'RoI features \(512, 2, 2\).*set bbox_head.in_channels=512 and roi_feat_size=2',
        ),
        (
            'videomae_narrow',
            {'clip_backbone.return_feat_map': False},
            'VisionTransformer must return maps .* a vector per clip',
        ),
        (
            'mvit_narrow',
            {'clip_backbone.output_cls_token': True},
            'MViT returned 2 tensors for one scale.*output_cls_token=False',
        ),
        (
            'mvit_narrow',
            {'data_preprocessor.pad_size_divisor': 16},
            "MViT's map has 3 x 4 cells, the key frame's 5 x 7.*pad_size_divisor",
        ),
        ('slowonly_narrow', {'backbone.out_indices': (1, 2)}, 'ResNet gives 2 maps.*out_indices'),
        (
            'slowonly_narrow',
            {'backbone.strides': (1, 2, 1)},
            r'SF\(K\) is .*12, 16.*with the stride 16 .* it is 6 x 8',
        ),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_key(name, changes, message):
    detector = build(name, **changes)
    size = (80, 112) if 'data_preprocessor.pad_size_divisor' in changes else (96, 128)
    with pytest.raises((ConfigError, RuntimeError), match=message):
        losses_of(detector, dual_batch(n=1, size=size))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'rpn_head.anchor_generator.strides': [8]},
            r'strides \[\(8, 8\)\],.*featmap_strides \[16\]',
        ),
        ({'roi_head.bbox_head.with_avg_pool': False}, 'BBoxHead must average'),
        (
            {'roi_head.bbox_head.type': 'mmdet.Shared2FCBBoxHead'},
            'Shared2FCBBoxHead must average.*no layers.*ConvRoIStage',
        ),
        (
            {'roi_head.bbox_roi_extractor.out_channels': 83},
            'InceptionI3D gives 84 channels.*set it to 84',
        ),
    ],
)
def test_what_the_parts_themselves_say_is_checked_when_built(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_detector(**changes)


@pytest.fixture(scope='module')
def kinetics(tmp_path_factory) -> tuple[torch.nn.Module, Path]:
    """SlowOnly's backbone and the file of the recogniser."""
    file = tmp_path_factory.mktemp('kinetics') / 'slowonly.pth'
    backbone = recogniser_of(
        RECOGNISERS['slowonly'],
        file,
        **{'backbone.pretrained': None, 'backbone.base_channels': 16, 'cls_head.in_channels': 512},
    )
    return backbone, file


@pytest.mark.slow
def test_slowfast_loads_the_file_of_mmaction2s_recogniser(tmp_path):
    file = tmp_path / 'slowfast.pth'
    backbone = recogniser_of(
        RECOGNISERS['slowfast'],
        file,
        **{
            'backbone.slow_pathway.base_channels': 16,
            'backbone.fast_pathway.base_channels': 2,
            'backbone.slow_pathway.fusion_kernel': 7,
            'cls_head.in_channels': 576,
        },
    )
    weights = dict(_read('slowfast').model.clip_backbone.init_cfg, checkpoint=str(file))
    detector = build('slowfast_narrow', **{'clip_backbone.init_cfg': dict(weights, _delete_=True)})
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, detector.clip_backbone.state_dict()[key]), key


def from_kinetics(file: Path) -> dict:
    """The keys of the full-size config that load the file."""
    full = _read('slowonly').model
    return {
        f'{part}.init_cfg': dict(config.init_cfg, checkpoint=str(file), _delete_=True)
        for part, config in (
            ('clip_backbone', full.clip_backbone),
            ('roi_head.shared_head', full.roi_head.shared_head),
        )
    }


@pytest.mark.slow
def test_slowonly_and_its_roi_stage_are_one_network_from_one_file(kinetics):
    """MMAction2's checkpoint, split over TF1 and TF2, gives MMAction2's features."""
    whole, file = kinetics
    detector = build('slowonly_narrow', **from_kinetics(file)).eval()
    clip = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        x = whole.maxpool(whole.conv1(clip[:, :, ::4]))  # one step of time: 4 frames, every fourth
        for name in whole.res_layers[:3]:
            x = getattr(whole, name)(x)
        detector.clip_backbone.conv1.conv.stride = (4, 2, 2)
        torch.testing.assert_close(detector.clip_backbone(clip), x)
        expected = whole.layer4[0].conv2.conv.stride
        assert expected == (1, 2, 2)  # the recogniser's; MMAction2's detectors set 1, as here
        whole.layer4[0].conv2.conv.stride = whole.layer4[0].downsample.conv.stride = (1, 1, 1)
        stage = detector.roi_head.shared_head
        torch.testing.assert_close(stage(x[:, :, 0]), whole.layer4(x)[:, :, 0])


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_an_error_also_for_backbones_that_ignore_init_cfg(
    kinetics,
):
    _, file = kinetics
    changes = from_kinetics(file)
    changes['clip_backbone.base_channels'] = 8
    changes['roi_head.bbox_roi_extractor.out_channels'] = 128
    with pytest.raises(RuntimeError, match='does not fit ResNet3dSlowOnly'):
        build('slowonly_narrow', **changes)


def mixed_batch(*sizes: tuple[int, int]) -> dict:
    """A source clip of the first size, target clips of the others."""
    items = [packed(np.random.default_rng(size), size=size) for size in sizes]
    return dict(source=collate(items[:1]), target=collate(items[1:]))


@pytest.mark.slow
def test_maps_of_a_larger_stride_do_not_depend_on_padding():
    """SlowOnly to its last stage, stride 32, interpolated to 16: an image alone and beside."""
    changes = dict(num_stages=4, out_indices=(3,), spatial_strides=(1, 2, 2, 2))
    changes |= dict(temporal_strides=(1,) * 4, dilations=(1,) * 4, inflate=(0, 0, 1, 1))
    detector = build(
        'slowonly_narrow',
        **{
            **{f'clip_backbone.{key}': value for key, value in changes.items()},
            'roi_head.bbox_roi_extractor.out_channels': 512,
            'data_preprocessor.pad_size_divisor': 32,
        },
    ).eval()
    found = []
    for sizes in ([(90, 120)], [(90, 120), (160, 96)]):
        data = detector.data_preprocessor(mixed_batch(*sizes), True)
        with torch.no_grad(), detector.layout.images(data['data_samples']):
            found.append(detector.extract_feat(data['inputs'])[1])
    assert found[1].shape[2:] == (10, 8)
    torch.testing.assert_close(found[1][:1, :, :6], found[0], rtol=1e-4, atol=1e-4)
    assert not found[1][0, :, 6:].any()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['slowfast', 'mvit', 'videomae'])
def test_networks_that_see_padding_say_so_and_their_rows_have_none(name):
    with pytest.raises(RuntimeError, match=r'clip_backbone, .* sees padding .* of one size'):
        losses_of(build(f'{name}_narrow'), mixed_batch((96, 128), (96, 96)))
    cfg = _read(name)
    for part in ('source', 'target'):
        resize = cfg.train_dataloader.dataset[part].pipeline[2]
        assert not resize.keep_ratio
        divisor = cfg.model.data_preprocessor.pad_size_divisor
        assert all(side % divisor == 0 for side in resize.scale)


@pytest.mark.slow
def test_layer4_of_mmdetection_is_a_roi_stage():
    stage = dict(_delete_=True, type='mmdet.ResLayer', depth=50, stride=2)
    detector = build(
        'slowonly_narrow',
        **{
            'clip_backbone.base_channels': 64,
            'roi_head.bbox_roi_extractor.out_channels': 1024,
            'roi_head.shared_head': stage,
            'roi_head.bbox_head.in_channels': 2048,
            'roi_head.bbox_head.roi_feat_size': 2,
        },
    )
    losses = losses_of(detector, dual_batch(n=1))
    assert total(losses, {key for key in losses if 'loss' in key}).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize('stage', [True, False])
@pytest.mark.parametrize('adapts', [True, False])
def test_statistics_per_domain_with_and_without_a_roi_stage(stage, adapts):
    changes = {} if stage else {'roi_head.shared_head': None}
    if not stage:
        changes['roi_head.bbox_head.in_channels'] = 256
    if not adapts:
        changes['adaptation'] = None
    detector = build('slowonly_narrow', domain_norm='target', **changes)
    losses = losses_of(detector, dual_batch(n=1, size=(96, 128)))
    assert (losses.keys() >= DA_LOSSES) == adapts
    layers = detector.roi_head.shared_head.modules() if stage else ()
    norms = [layer for layer in layers if hasattr(layer, 'target_running_mean')]
    assert len(norms) == (10 if stage else 0)
    for layer in norms:
        assert layer.target_running_mean.any()


def test_a_transformer_has_no_statistics_to_keep_per_domain(monkeypatch):
    noted = []
    monkeypatch.setattr(domain_batch_norm, 'print_log', lambda text, *_: noted.append(text))
    detector = build('videomae_narrow', domain_norm='target')
    assert len(noted) == 1 and 'model.clip_backbone has LayerNorm alone' in noted[0]
    assert not any('target_running' in name for name in detector.clip_backbone.state_dict())
    assert any('target_running' in name for name in detector.backbone.state_dict())


@pytest.mark.slow
def test_an_earlier_layer_of_another_backbone_can_be_tapped():
    modules = module_configs()
    tap = dict(modules['temporal_image'], tap='layer2', in_channels=128)
    detector = build('slowonly_narrow', adaptation=dict(temporal_image=tap))
    losses_of(detector, dual_batch(n=1, size=(96, 128)))['loss_da_timg'].backward()
    assert detector.clip_backbone.layer2[0].downsample.conv.weight.grad.any()
    assert all(p.grad is None for p in detector.clip_backbone.layer3.parameters())


@pytest.mark.slow
def test_a_tapped_layer_that_gives_tokens_is_an_error():
    modules = module_configs()
    tap = dict(modules['temporal_image'], tap='blocks.1', in_channels=96)
    detector = build('videomae_narrow', adaptation=dict(temporal_image=tap))
    with pytest.raises(RuntimeError, match=r"temporal_image.tap: 'blocks.1' gives .*no map"):
        losses_of(detector, dual_batch(n=1, size=(96, 128)))


@pytest.mark.slow
def test_the_clip_in_bgr():
    batch = plain_batch(n=1)
    rgb = build_detector(**{'data_preprocessor.clip_mean': [1.0, 2, 3]})
    bgr = build_detector(
        **{'data_preprocessor.clip_mean': [3.0, 2, 1], 'data_preprocessor.clip_bgr': True}
    )
    first, second = (m.data_preprocessor(batch)['inputs'] for m in (rgb, bgr))
    assert torch.equal(first['clip'].flip(1), second['clip'])
    assert torch.equal(first['key_frame'], second['key_frame'])
