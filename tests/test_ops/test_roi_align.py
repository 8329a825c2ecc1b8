"""RoIAlign against torchvision's recorded answers, the definition, finite differences."""

import itertools

import numpy as np
import pytest
import torch

from mmstal_da import compat  # noqa: F401  (makes mmcv.ops importable)
from mmstal_da.ops import roi_align, torchvision_has_ops
from mmstal_da.ops.extension import OperatorModule
from tests.test_ops import definition

SHAPE = (2, 3, 6, 9)
ROIS = torch.tensor(
    [
        [0, 3.0, 2.0, 40.0, 30.0],
        [1, 0.0, 0.0, 72.0, 48.0],
        [1, 20.0, 11.0, 20.0, 11.0],  # without size
        [0, -30.0, -9.0, 8.0, 100.0],  # over the border
        [1, 500.0, 400.0, 600.0, 450.0],  # off the map
        [0, 17.0, 5.0, 18.0, 44.0],  # a sliver
    ]
)
SCALE = 0.125


def features(seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def align(extension, values, rois, size, scale, ratio, aligned, mode='avg'):
    """Output and, given the gradient at it, the gradient at the features."""
    output = values.new_zeros((len(rois), values.shape[1], *size))
    argmax = [torch.zeros_like(output) for _ in range(2)]
    keys = dict(
        aligned_height=size[0],
        aligned_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=int(mode == 'avg'),
        aligned=aligned,
    )
    extension.roi_align_forward(values, rois, output, *argmax, **keys)

    def gradient(at_output: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(values)
        extension.roi_align_backward(at_output, rois, *argmax, result, **keys)
        return result

    return output, gradient


@pytest.fixture(params=['own', 'torchvision'])
def extension(request) -> OperatorModule:
    torchvision = request.param == 'torchvision'
    if torchvision and not torchvision_has_ops():
        pytest.skip('torchvision is not installed, or was built for another torch')
    return OperatorModule(torchvision)


@pytest.fixture(scope='module')
def recorded(test_data) -> dict:
    """What torchvision 0.26 answered."""
    with np.load(test_data / 'ops_small/roi_align_nms.npz') as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file}


@pytest.mark.parametrize('size', [4, 7])
@pytest.mark.parametrize('ratio', range(4))
@pytest.mark.parametrize('aligned', [False, True])
def test_recorded_answers_of_torchvision(extension, recorded, aligned, ratio, size):
    name = f'align{int(aligned)}_ratio{ratio}_size{size}'
    scale = float(recorded['spatial_scale'])
    output, gradient = align(
        extension, recorded['features'], recorded['rois'], (size, size), scale, ratio, aligned
    )
    at_output = torch.arange(output.numel()).reshape(output.shape) % 7 - 3.0
    torch.testing.assert_close(output, recorded[name], rtol=0, atol=2e-5)
    torch.testing.assert_close(gradient(at_output), recorded[f'{name}_grad'], rtol=0, atol=2e-4)


@pytest.mark.parametrize('small_map', [0, 10**6], ids=['per axis', 'at once'])
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('ratio', [0, 1, 2])
@pytest.mark.parametrize('aligned', [False, True])
def test_the_definition(extension, monkeypatch, aligned, ratio, mode, small_map):
    monkeypatch.setattr(roi_align, '_SMALL_MAP', small_map)
    values = features()
    arguments = ((3, 2), SCALE, ratio, aligned, mode)
    output, gradient = align(extension, values, ROIS.double(), *arguments)
    expected, expected_gradient = definition.roi_align(values.numpy(), ROIS.numpy(), *arguments)
    np.testing.assert_allclose(output.numpy(), expected, rtol=0, atol=1e-12)
    at_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).double()
    np.testing.assert_allclose(
        gradient(at_output).numpy(), expected_gradient(at_output.numpy()), rtol=0, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_finite_differences(mode):
    from mmcv.ops import RoIAlign

    layer = RoIAlign(3, SCALE, sampling_ratio=2, pool_mode=mode, aligned=True)
    values = features().requires_grad_()
    torch.autograd.gradcheck(lambda x: layer(x, ROIS.double()), (values,))


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_under_autocast_only_the_result_is_rounded(extension, dtype, mode):
    """Compiled mmcv has no bfloat16 on CPUs; here it is float32 within."""
    values = features(dtype=dtype)
    arguments = ((3, 3), SCALE, 2, True, mode)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output, gradient = align(extension, values, ROIS, *arguments)
        back = gradient(output)
    exact, exact_gradient = align(extension, values.float(), ROIS, *arguments)
    assert output.dtype == back.dtype == dtype
    assert torch.equal(output, exact.to(dtype))
    if mode == 'avg':
        assert torch.equal(back, exact_gradient(output.float()).to(dtype))


def test_many_rois_are_pooled_in_parts(monkeypatch):
    rois = torch.cat([ROIS] * 3)
    extension = OperatorModule(torchvision=False)
    for mode, ratio in itertools.product(('avg', 'max'), (0, 2)):
        arguments = (features(), rois.double(), (3, 3), SCALE, ratio, True, mode)
        whole, whole_gradient = align(extension, *arguments)
        with monkeypatch.context() as patch:
            patch.setattr(roi_align, '_LARGEST', 100)
            parts, parts_gradient = align(extension, *arguments)
            torch.testing.assert_close(parts, whole)
            torch.testing.assert_close(parts_gradient(whole), whole_gradient(whole))


def test_no_rois(extension):
    for mode in ('avg', 'max'):
        output, gradient = align(extension, features(), ROIS[:0], (3, 3), SCALE, 0, True, mode)
        assert output.shape == (0, 3, 3, 3)
        assert not gradient(output).any()


def test_a_roi_of_an_image_that_is_not_there():
    rois = torch.tensor([[2.0, 0, 0, 8, 8]])
    with pytest.raises(ValueError, match='RoIs name the images 2 to 2, and the features have 2'):
        align(OperatorModule(torchvision=False), features(), rois, (3, 3), SCALE, 0, True)


def test_torchvision_and_own_agree():
    if not torchvision_has_ops():
        pytest.skip('torchvision is not installed, or was built for another torch')
    arguments = (features(dtype=torch.float32), ROIS, (7, 7), SCALE)
    for ratio, aligned in itertools.product((0, 2), (False, True)):
        results = [align(OperatorModule(t), *arguments, ratio, aligned) for t in (False, True)]
        (own, own_gradient), (theirs, their_gradient) = results
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-5)
        torch.testing.assert_close(own_gradient(own), their_gradient(own), rtol=0, atol=1e-4)
