"""dump_proposals.py: the RPN's proposals of every key frame, or a clear complaint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmstal_da.datasets import ActionTubeDataset
from mmstal_da.datasets.proposals import ProposalFile
from mmstal_da.errors import ProposalError, UsageError, VideoError
from mmstal_da.register import register_all_modules
from mmstal_da.registry import MODELS
from tests.clips import write_dataset
from tests.load_tool import load_tool
from tests.model_builders import TINY, build_detector

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    return load_tool('data/dump_proposals')


@pytest.fixture(scope='module')
def case(tmp_path_factory):
    """A tiny detector with random weights, its config on two videos, and its checkpoint."""
    folder = tmp_path_factory.mktemp('case')
    ann_file = write_dataset(folder, ['a', 'b'], ['pull', 'push', 'squat'], num_frames=6)
    detector = build_detector().eval()
    torch.save(dict(state_dict=detector.state_dict()), folder / 'detector.pth')
    config = Config.fromfile(ROOT / 'configs/synthetic/source_only.py')
    # build_detector changes the same model
    config.model = Config.fromfile(ROOT / 'configs/_base_/models/i3d_rpn_r50_narrow.py').model
    config.merge_from_dict({f'model.{key}': value for key, value in TINY.items()})
    # frames of another size than the annotation's
    resize = dict(type='mmaction.Resize', scale=(96, 64), keep_ratio=False)
    first, decode, *_, pack = config.test_pipeline
    data = dict(data_root='', ann_file=str(ann_file), data_prefix=str(folder), split='train')
    data['classes'] = ['pull', 'push', 'squat']
    config.train_dataloader.dataset.source.update(data)
    config.test_dataloader.dataset.update(data, pipeline=[first, decode, resize, pack])
    config.dump(folder / 'config.py')
    return folder, detector, config


def arguments(case, out, *more):
    folder, _, _ = case
    return [str(folder / 'config.py'), str(folder / 'detector.pth'), '--out', str(out),
            '--workers', '0', *more]  # fmt: skip


@pytest.mark.slow
def test_proposals_are_those_of_the_detector_on_whole_clips(tool, case, tmp_path, capsys):
    _, detector, config = case
    out = tmp_path / 'made' / 'p.npz'
    tool.main(arguments(case, out, '--batch-size', '3'))
    printed = capsys.readouterr().out
    assert 'train: 8 key frames of 2 videos' in printed  # frames 3 to 6
    assert printed.count('% of the labelled boxes') == 2
    for part, expected in (('train', [3, 4, 5, 6]), ('test', [1, 2, 3, 4, 5, 6])):
        file = ProposalFile(out, part)
        assert file.meta['checkpoint'].endswith('detector.pth')
        source = config[f'{part}_dataloader'].dataset
        source = dict(
            source.get('source', source), pipeline=config.test_dataloader.dataset.pipeline
        )
        source.pop('type')
        dataset = ActionTubeDataset(**source)
        seen = []
        for index in range(len(dataset)):
            item = dataset[index]
            sample = item['data_samples']
            data = detector.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[sample]))
            with torch.no_grad():
                spatial, _ = detector.extract_feat(data['inputs'])
                (result,) = detector.rpn_head.predict((spatial,), [sample], rescale=False)
            boxes, scores = file.of_frame(sample.video_name, sample.key_frame, 6)
            # 96 x 64 pixels seen, 64 x 48 annotated
            by_hand = result.bboxes.numpy() * np.array([64 / 96, 48 / 64, 64 / 96, 48 / 64])
            assert len(boxes) == len(by_hand) == 30
            # a batch of three may differ in the last bit from one, and so swap equal scores
            np.testing.assert_allclose(scores, result.scores.numpy(), atol=1e-5)
            near = np.abs(boxes[:, None] - by_hand).max(2).min(1)
            assert near.max() < 1e-2
            seen.append((sample.video_name, sample.key_frame))
        assert seen == [(video, frame) for video in 'ab' for frame in expected]
    with pytest.raises(ProposalError, match="no frame 2 of video 'a'"):
        ProposalFile(out, 'train').of_frame('a', 2, 6)


def test_quality_by_hand(tool):
    # the labelled boxes, ends inclusive, are the edges 0 0 10 10 and 20 0 30 10
    actors = np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32)
    half = [0, 0, 10, 5]  # IoU 0.5 exactly with the first
    less = [20, 0, 30, 4.9]
    proposals = {
        ('a', 1): (np.array([half, less], np.float32), np.array([0.2, 0.9], np.float32)),
        ('a', 2): (np.array([half, less], np.float32), np.array([0.9, 0.2], np.float32)),
        ('b', 1): (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)),
        ('b', 2): (np.array([half], np.float32), np.ones(1, np.float32)),
    }
    labelled = {('a', 1): actors, ('a', 2): actors, ('b', 1): actors[:1], ('b', 2): actors[:0]}
    found, best = tool.quality(proposals, labelled)
    assert found == pytest.approx(2 / 5)
    assert best == pytest.approx(1 / 3)
    line = 'test: 4 key frames of 2 videos, 1.2 proposals each'
    assert tool.describe('test', proposals, (found, best)) == (
        f'{line}; at IoU 0.5 they hold 40.0% of the labelled boxes, the best of a frame is one in'
        ' 33.3%'
    )
    for unlabelled in ({}, {('b', 2): actors[:0]}):
        assert tool.describe('test', proposals, tool.quality(proposals, unlabelled)) == line


@pytest.mark.slow
def test_what_it_writes_trains_and_tests_an_ava_style_detector(tool, case, tmp_path):
    out = tmp_path / 'p.npz'
    tool.main(arguments(case, out, '--max-per-frame', '5'))
    register_all_modules()
    row = Config.fromfile(ROOT / 'configs/synthetic_a/slowonly.py')
    row.merge_from_dict(
        {
            'model.backbone.base_channels': 8,
            'model.roi_head.bbox_head.in_channels': 256,
            'model.roi_head.bbox_head.num_classes': 3,
        }
    )
    model = MODELS.build(row.model)
    _, _, config = case
    for part in ('train', 'test'):
        stages, source = (
            c[f'{part}_dataloader'].dataset.get('source', c[f'{part}_dataloader'].dataset)
            for c in (row, config)
        )
        source = dict(source, pipeline=stages.pipeline, proposals=str(out))
        source.pop('type')
        dataset = ActionTubeDataset(**source)
        items = [dataset[i] for i in range(2 if part == 'train' else 1)]
        batch = {key: [item[key] for item in items] for key in items[0]}
        assert [len(sample.proposals) for sample in batch['data_samples']] == [5] * len(items)
        training = part == 'train'
        data = model.train(training).data_preprocessor(batch, training)
        result = model(**data, mode='loss' if training else 'predict')
        if training:
            assert result['loss_action_cls'].isfinite()
        else:
            assert result[0].pred_instances.scores.shape == (5, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (['model.rpn_head.feat_channels=8'], 'is of another model than the config'),
        (['train_dataloader.dataset.source.labelled=False'], 'no labelled ActionTubeDataset'),
        (['test_dataloader.dataset.pipeline.0.type=FilterBoxes'], 'has 0 SampleKeyFrameClip'),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    tool, case, tmp_path, capsys, changes, message
):
    out = tmp_path / 'p.npz'
    with pytest.raises(SystemExit) as exit_:
        tool.main(arguments(case, out, '--cfg-options', *changes))
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_detector_without_rpn_is_refused(tool, case):
    with pytest.raises(UsageError, match='FastRCNN has no RPN on the key frame'):
        tool.load_detector(Config.fromfile(ROOT / 'configs/synthetic_a/slowonly.py'), 'any.pth')


def test_usage(tool, case, tmp_path, capsys):
    for argv, message in (
        (arguments(case, tmp_path / 'p.pkl'), '.npz'),
        (arguments(case, tmp_path / 'p.npz', '--max-per-frame', '0'), 'at least 1'),
        (['none.py', *arguments(case, tmp_path / 'p.npz')[1:]], 'none.py does not exist'),
    ):
        with pytest.raises(SystemExit):
            tool.main(argv)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'error', [VideoError('a.avi is damaged'), OSError(28, 'No space left', 'p.npz')]
)
def test_what_stops_it_is_said_without_a_traceback(tool, tmp_path, monkeypatch, capsys, error):
    def stop(args, stopped):
        raise error

    monkeypatch.setattr(tool, 'dump', stop)
    with pytest.raises(SystemExit) as end:
        tool.main(['config.py', 'x.pth', '--out', str(tmp_path / 'p.npz')])
    assert end.value.code == 1
    assert str(error) in capsys.readouterr().err
