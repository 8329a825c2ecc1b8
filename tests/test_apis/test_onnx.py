"""An exported detector finds what its checkpoint finds, on real frames, of any size and number."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.apis import ActionTubeInferencer, onnx_export
from mmstal_da.apis.onnx_detector import load_onnx
from mmstal_da.apis.onnx_export import compare, random_clips
from mmstal_da.apis.onnx_metadata import FORMAT
from mmstal_da.errors import UsageError
from mmstal_da.evaluation.files import load_detections
from tests.clips import actor_frames, write_video
from tests.load_tool import load_tool, run_tool
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS, TINY, build_detector
from tests.test_apis.test_onnx_graph import spread

onnx = pytest.importorskip('onnx', reason="pip install 'mmstal_da[onnx]'")
ort = pytest.importorskip('onnxruntime', reason="pip install 'mmstal_da[onnx]'")

pytestmark = pytest.mark.slow  # an export takes seconds

CLASSES = ['pull', 'push', 'squat']
CLIP_LEN = 8


def random_norms(detector) -> None:
    """Statistics and scales of batch norm as after a training, other ones of each domain."""
    generator = torch.Generator().manual_seed(0)
    for name, value in detector.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.add_(0.3 * noise if name.endswith('var') else 0.3 * (noise - 0.5))


def write_checkpoint(path, domain_norm: str | None):
    """A checkpoint as the runner saves it, of a tiny detector on frames of short side 64."""
    config = Config.fromfile(CONFIGS / 'synthetic/source_only.py')
    config.merge_from_dict(
        {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    )
    config.model.domain_norm = domain_norm
    resize = dict(type='mmaction.Resize', scale=(-1, 64), keep_ratio=True)
    config.test_dataloader.dataset.pipeline.insert(2, resize)
    detector = build_detector(domain_norm=domain_norm).eval()
    random_norms(detector)
    spread(detector, detector.data_preprocessor(random_clips(CLIP_LEN, [(64, 96)])))
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=tuple(CLASSES)))
    torch.save(dict(meta=meta, state_dict=detector.state_dict()), path)
    return detector


class Exported:
    """A checkpoint, its detector and its ONNX file."""

    def __init__(self, folder, domain_norm: str | None):
        self.checkpoint, self.file = folder / 'iter_2.pth', folder / 'detector.onnx'
        self.detector = write_checkpoint(self.checkpoint, domain_norm)
        self.said = run_tool('export_onnx', self.checkpoint, '--out', self.file)


@pytest.fixture(scope='module')
def joint(tmp_path_factory) -> Exported:
    return Exported(tmp_path_factory.mktemp('joint'), None)


@pytest.fixture(scope='module')
def per_domain(tmp_path_factory) -> Exported:
    return Exported(tmp_path_factory.mktemp('per_domain'), 'target')


@pytest.fixture(params=['joint', 'per_domain'])
def exported(request) -> Exported:
    return request.getfixturevalue(request.param)


def as_rows(found) -> np.ndarray:
    """(n, 6): label, score, box, of ``pred_instances``."""
    return torch.cat([found.labels[:, None], found.scores[:, None], found.bboxes], 1).numpy()


def of_frames(dets) -> np.ndarray:
    """(n, 7): frame, label, score, box."""
    return np.column_stack((dets.frame, dets.label, dets.score, dets.boxes))


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Every row has a partner in the other array, all of its values within 0.001."""
    assert len(found) == len(expected)
    if len(found):
        apart = np.abs(found[:, None] - expected).max(2)
        assert apart.min(0).max() <= 1e-3 and apart.min(1).max() <= 1e-3


def test_on_real_frames_it_finds_what_the_checkpoint_finds(exported, test_data):
    clips = test_data / 'jhmdb/clips'
    videos = [sorted(clips.glob(f'{name}/*.avi'))[0] for name in ('golf', 'sit')]
    of_torch, of_onnx = (
        ActionTubeInferencer(path, device='cpu', batch_size=3)
        for path in (exported.checkpoint, exported.file)
    )
    assert of_onnx.classes == of_torch.classes == CLASSES
    results = (x(videos, key_frame_stride=9) for x in (of_torch, of_onnx))
    for expected, found in zip(*results, strict=True):
        assert np.unique(expected.dets.frame).tolist() == [1, 10, 19, 28, 37]
        assert_same(of_frames(found.dets), of_frames(expected.dets))


@pytest.mark.parametrize(
    'sizes', [[(64, 80)], [(48, 64), (33, 47), (112, 150)], [(16, 40)], [(200, 90)] * 2], ids=str
)
def test_sizes_batches_and_numbers_of_detections(exported, sizes):
    detector, model = exported.detector, load_onnx(exported.file, device='cpu').model
    cfg = detector.roi_head.test_cfg
    before = cfg.score_thr
    try:
        with torch.no_grad():
            threshold = before
            for expected in ('many', 1, 0):
                cfg.score_thr = threshold
                samples = detector.test_step(random_clips(CLIP_LEN, sizes, seed=7))
                found = model.test_step(random_clips(CLIP_LEN, sizes, seed=7), threshold)
                for one, other in zip(found, samples, strict=True):
                    assert_same(as_rows(one.pred_instances), as_rows(other.pred_instances))
                best = torch.cat([sample.pred_instances.scores for sample in samples]).sort()[0]
                assert len(best) == expected or (expected == 'many' and len(best) > 1)
                # between the two best, then above all
                threshold = float(best[-2:].mean()) if len(best) > 1 else 1.0
    finally:
        cfg.score_thr = before


def test_frames_need_no_padding(joint):
    data = joint.detector.data_preprocessor(random_clips(CLIP_LEN, [(35, 60)] * 2))
    assert data['inputs']['clip'].shape[-2:] == (48, 64)
    session = load_onnx(joint.file, device='cpu').model.session
    feeds = dict(
        img_shape=np.array([[35, 60]] * 2, np.float32), scale_factor=np.ones((2, 2), np.float32)
    )
    padded, cut = (
        session.run(None, {**feeds, **{name: value.numpy() for name, value in inputs.items()}})
        for inputs in (
            data['inputs'],
            {name: value[..., :35, :60] for name, value in data['inputs'].items()},
        )
    )
    assert len(padded[0]) > 3
    for one, other in zip(cut, padded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_uses_the_statistics_that_the_checkpoint_uses(per_domain):
    detector, model = per_domain.detector, load_onnx(per_domain.file, device='cpu').model
    clips = [random_clips(CLIP_LEN, [(64, 80)]) for _ in range(3)]
    (found,) = model.test_step(clips[0])
    found = as_rows(found.pred_instances)
    with torch.no_grad():
        (of_target,) = detector.test_step(clips[1])
        detector.domain_norm.test_domain = 'source'
        (of_source,) = detector.test_step(clips[2])
        detector.domain_norm.test_domain = 'target'
    assert_same(found, as_rows(of_target.pred_instances))
    with pytest.raises(AssertionError):
        assert_same(found, as_rows(of_source.pred_instances))


def test_another_network_is_not_written(joint, per_domain, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r'of torch .*; nothing was written'):
        compare(joint.detector, per_domain.file.read_bytes(), CLIP_LEN)
    proto = onnx.load(per_domain.file)
    (default,) = (x for x in proto.graph.initializer if x.name == 'score_thr')
    proto.graph.initializer.remove(default)
    monkeypatch.setattr(onnx_export, 'trace', lambda *_: proto.SerializeToString())
    (tmp_path / 'x.onnx').write_bytes(b'from before')
    with pytest.raises(UsageError, match='nothing was written'):
        onnx_export.export_onnx(joint.checkpoint, tmp_path / 'x.onnx')
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'from before']


def test_no_proposal_is_no_detection(joint, tmp_path):
    proto = onnx.load(joint.file)
    (bias,) = (x for x in proto.graph.initializer if x.name.endswith('rpn_reg.bias'))
    far_away = np.full(bias.dims, 1e4, np.float32)  # clipped to the image, a box is a point
    bias.CopyFrom(onnx.numpy_helper.from_array(far_away, bias.name))
    onnx.save(proto, tmp_path / 'none.onnx')
    samples = load_onnx(tmp_path / 'none.onnx', device='cpu').model.test_step(
        random_clips(CLIP_LEN, [(64, 80)] * 2)
    )
    assert [len(sample.pred_instances) for sample in samples] == [0, 0]


def test_what_the_file_holds(joint):
    assert re.match(rf'{joint.file}: 1\.\d MB\. .* finds (\d\d) of \1 detections of', joint.said)
    proto = onnx.load(joint.file)
    assert {(x.domain, x.version) for x in proto.opset_import} == {('', 16)}
    kinds = [node.op_type for node in proto.graph.node]
    assert {node.domain for node in proto.graph.node} == {''}
    assert kinds.count('NonMaxSuppression') == 2 and kinds.count('RoiAlign') == 1
    metadata = {x.key: x.value for x in proto.metadata_props}
    assert metadata['format'] == FORMAT and json.loads(metadata['classes']) == CLASSES
    preprocessing = json.loads(metadata['preprocessing'])
    assert (preprocessing['clip_len'], preprocessing['key_index']) == (CLIP_LEN, 4)
    assert preprocessing['clip_std'] == [127.5] * 3 and preprocessing['key_bgr'] is False
    assert preprocessing['pipeline'][2] == dict(
        type='mmaction.Resize', scale=[-1, 64], keep_ratio=True
    )
    session = ort.InferenceSession(joint.file)
    shapes = {x.name: x.shape for x in session.get_inputs()}
    assert shapes['clip'] == ['batch', 3, CLIP_LEN, 'height', 'width']
    assert [x.name for x in session.get_overridable_initializers()] == ['score_thr']


def test_infer_takes_the_file(joint, tmp_path):
    boxes = np.stack([np.arange(12) + at for at in (5, 5, 25, 30)], 1)
    video = write_video(tmp_path / 'a.mkv', actor_frames(boxes, 48, 64))
    found = []
    for model in (joint.checkpoint, joint.file):
        out = tmp_path / model.suffix[1:]
        argv = [str(model), str(video), '--out', str(out), '--device', 'cpu', '--no-video']
        assert load_tool('infer').main([*argv, '--key-frame-stride', '4']) == 0
        found.append(load_detections(out / 'a/dets.npz'))
    assert found[0].labels == found[1].labels == CLASSES
    assert len(found[0].dets) > 3
    assert_same(found[1].dets, found[0].dets)


def test_files_that_are_not_ours(joint, tmp_path):
    def refused(content: bytes, message: str, **kwargs):
        (tmp_path / 'x.onnx').write_bytes(content)
        with pytest.raises(UsageError, match=message):
            ActionTubeInferencer(tmp_path / 'x.onnx', device='cpu', **kwargs)

    whole = joint.file.read_bytes()
    for content in (b'', b'no network', whole[:1000], whole[: len(whole) // 2], whole[:-9]):
        refused(content, r'x\.onnx (is no ONNX file that|carries no class names)')
    for key, value, message in (
        ('version', '2', 'has metadata of version 2, this mmstal_da reads 1'),
        ('config', f'__import__("pathlib").Path("{tmp_path}/ran").touch()', 'metadata are damaged'),
        ('config', None, r'Mine is not in .*; give a config whose custom_imports name the module'),
        ('format', 'other', 'export_onnx.py did not write it'),
    ):
        proto = onnx.load(joint.file)
        (entry,) = (x for x in proto.metadata_props if x.key == key)
        entry.value = value or entry.value.replace('mmaction.Resize', 'Mine')
        refused(proto.SerializeToString(), message)
    assert not (tmp_path / 'ran').exists()  # no code of the file
    del proto.metadata_props[:]
    refused(proto.SerializeToString(), 'carries no class names and no preprocessing')
    with pytest.raises(UsageError, match=r'absent\.onnx does not exist'):
        ActionTubeInferencer('absent.onnx')
    with pytest.raises(UsageError, match='does not run on tpu; use cpu'):
        ActionTubeInferencer(joint.file, device='tpu')
    refused(whole, 'takes clips of 8 frames, the config makes them of 20',
            config=CONFIGS / 'jhmdb_to_ucf101/full.py')  # fmt: skip
    refused(whole, 'no model.data_preprocessor of type ClipKeyFramePreprocessor',
            config=CONFIGS / 'synthetic_a/slowonly.py')  # fmt: skip


def test_checkpoints_that_cannot_be_exported(joint, tmp_path, monkeypatch, capsys):
    tool = load_tool('export_onnx')

    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}

    def refused(message: str, checkpoint, out=tmp_path / 'x.onnx', *flags: str):
        before = files()
        assert tool.main([str(checkpoint), '--out', str(out), *flags]) == 2
        assert message in capsys.readouterr().err
        assert files() == before

    refused('absent.pth does not exist', 'absent.pth')
    for content in (b'', b'no checkpoint', b'hello', joint.checkpoint.read_bytes()[:5000]):
        (tmp_path / 'x.pth').write_bytes(content)
        refused('x.pth cannot be read, it is truncated', tmp_path / 'x.pth')
    refused('cannot be read, it is truncated', joint.file)
    torch.save([1, 2], tmp_path / 'x.pth')
    refused('holds a list, no weights', tmp_path / 'x.pth')
    missing = tmp_path / 'absent'
    refused(f'the folder {missing} does not exist', joint.checkpoint, missing / 'x.onnx')
    refused('ends in .onnx', joint.checkpoint, tmp_path / 'x.pt')
    (tmp_path / 'folder.onnx').mkdir()
    refused('folder.onnx is a folder', joint.checkpoint, tmp_path / 'folder.onnx')
    (tmp_path / 'folder.onnx').rmdir()
    slowonly = str(CONFIGS / 'synthetic_a/slowonly.py')
    refused('FastRCNN needs proposals', joint.checkpoint, tmp_path / 'x.onnx', '--config', slowonly)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    refused("run pip install 'mmstal_da[onnx]'", joint.checkpoint)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UsageError, match=r"onnxruntime: run pip install 'mmstal_da\[onnx\]'"):
        ActionTubeInferencer(joint.file)
