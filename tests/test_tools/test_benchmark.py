"""benchmark.py: every subcommand has its rows, and ratios are those of the medians."""

import json
import mmap
import pickle
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.load_tool import TOOLS, load_tool

sys.path.insert(0, str(TOOLS / 'analysis_tools'))

from benchmarks import common, evaluation, infer, loader, readers, scaling, train
from gpu_checks.networks import load_row

MODELS = ['source_only', 'full', 'slowonly', 'slowfast']
READERS = ['this package', 'PyAV sequential', 'OpenCV sequential', 'OpenCV seek', 'decord']
PIPELINES = ['ours', *(f'MMAction2, {reader}' for reader in loader.readers())]
# subcommand -> beginning of a row, its unit, its sides; the first of them is the reference
ROWS = {
    'train': [
        ('step, narrow, 2 clips', 's', [*MODELS, *(f'{name}, with_cp' for name in MODELS)]),
        ('joint source+target batch', 's', ['ours', 'plain']),
        ('TF2 in two dimensions', 's', ['ours', 'plain']),
        ('bfloat16 autocast', 's', ['ours', 'plain']),
        ('rate, narrow, 2 clips of 8 x 32 x 48', 'GFLOP/s', ['matrix product', 'I3D forward']),
    ],
    'infer': [
        (name, 'ms', ['one by one', 'together', 'fast'])
        for name in ('loading, narrow', 'model, narrow', 'loading and model, narrow')
    ],
    'loader': [
        ('narrow: flip (as in the configs)', 'ms', PIPELINES),
        ('narrow: flip, colour', 'ms', PIPELINES),
        ('reading 2 clips of 20 frames', 'ms', READERS),
        ('memory, narrow', 'MiB', [f'after {number}' for number in (2, 4, 6, 8)]),
    ],
    'scaling': [('training, narrow, 2 clips of 32 x 48 px per process', 'ms', ['1 x 1', '2 x 1'])],
    'eval': [('act, ', unit, ['ours', evaluation.OTHER]) for unit in ('s', 'CPU s') * 2],
    'ops': [('RoIAlign, tiny', 'ms', ['ours']), ('NMS, tiny', 'ms', ['ours'])],
}
FLAGS = {
    'eval': ['--per-frame', '2.3', '5'],
    'loader': ['--memory', '9'],
    'scaling': ['--layouts', '1x1', '2x1'],
}


@pytest.fixture
def tool():
    """The tool; it sets threads, which are restored."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    yield load_tool('analysis_tools/benchmark')
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def middle(values: list[float]) -> float:
    """The median, by hand."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def check_ratios(row: dict, repeats: int) -> None:
    reference = row['sides'][row['reference']]
    assert reference['ratio'] == 1
    for name, side in row['sides'].items():
        if side.get('failed'):  # compared with the reference on part of the work
            continue
        assert len(side['rounds']) % repeats == 0 and len(side['rounds']) > 0, name
        assert min(side['rounds']) >= 0
        assert side['median'] == pytest.approx(middle(side['rounds']))
        assert side['ratio'] == pytest.approx(
            middle(side['rounds']) / middle(reference['rounds'])
        ), name


@pytest.mark.slow
@pytest.mark.parametrize('part', ROWS)
def test_rows_and_ratios(tool, part, tmp_path, capsys):
    out = tmp_path / 'sub' / 'out.json'
    flags = [*FLAGS.get(part, []), '--quick', '--repeats', '3', '--threads', '1', '--out', str(out)]
    assert tool.main([part, *flags]) == 0
    result = json.loads(out.read_text())
    assert (result['format'], result['version']) == ('mmstal_da.benchmark', 1)
    assert result['benchmark'] == part and result['settings']['repeats'] == 3
    assert result['machine']['processor'] and result['machine']['threads'] == 1
    assert result['machine']['device'] == 'cpu'
    assert torch.__version__.startswith(result['environment']['torch'])
    assert len(result['rows']) == len(ROWS[part])
    for row, (beginning, unit, sides) in zip(result['rows'], ROWS[part], strict=True):
        assert row['row'].startswith(beginning) and row['unit'] == unit
        # torchvision's and mmcv's operators where they are installed
        assert list(row['sides'])[: len(sides)] == sides
        assert row['reference'] == sides[0]
        check_ratios(row, 1 if unit == 'MiB' else 3)
    check_further(part, result['rows'])
    printed = capsys.readouterr().out
    assert 'median of 3' in printed and 'ratio' in printed


@pytest.mark.slow
def test_a_rate_is_work_by_time(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(
        train, 'take_turns', lambda functions, repeats: {name: [0.5, 0.25] for name in functions}
    )
    out = tmp_path / 'out.json'
    assert tool.main(['train', '--rows', 'rate', '--quick', '--out', str(out)]) == 0
    (row,) = json.loads(out.read_text())['rows']
    for side in row['sides'].values():
        assert side['rounds'] == pytest.approx([2 * side['gflop'], 4 * side['gflop']])


def check_further(part: str, rows: list[dict]) -> None:
    """What a row has besides times."""
    sides = rows[0]['sides']
    if part == 'train':
        assert [side['frames'] for side in sides.values()] == [8] * 8
        for side in sides.values():
            assert side['peak_mib'] > 1
            assert side['peak_mib_per_clip'] == pytest.approx(side['peak_mib'] / 2)
        product, forward = rows[4]['sides'].values()
        assert product['gflop'] == pytest.approx(2 * 256**3 / 1e9)
        # Conv3d_1a alone: 16 channels, 3 x 7 x 7 x 7 weights, half of every side
        assert forward['gflop'] > 2 * 2 * 16 * 3 * 343 * (4 * 16 * 24) / 1e9
    if part == 'infer':
        assert [side['batch_size'] for side in sides.values()] == [3, 3, 6]
        for name in sides:
            parts = (np.array(row['sides'][name]['rounds']) for row in rows)
            loading, model, both = parts
            assert both == pytest.approx(loading + model)
    if part == 'loader':
        for row in rows[:2]:
            for side in row['sides'].values():
                assert side['clips_per_second'] == pytest.approx(1000 / side['median'])
                assert side['failed'] == ''
            assert row['sides']['MMAction2, PyAV']['difference'] == 0
            assert row['sides']['ours']['difference'] == 0
        assert rows[2]['sides']['this package']['wrong_frames'] == 0
        assert all(side['median'] > 100 for side in rows[3]['sides'].values())  # torch alone
    if part == 'scaling':
        for name, side in sides.items():
            assert f'{side["processes"]} x {side["threads"]}' == name
            assert side['clips_per_second'] == pytest.approx(1000 / side['median'])
    if part == 'eval':
        assert rows[0]['detections'] < rows[2]['detections']
        for row in rows:
            assert row['sides'][evaluation.OTHER]['largest_difference'] < 1e-9
            assert row['sides']['ours']['frame_mAP@0.5'] > 0  # boxes are found at all


@pytest.mark.slow
def test_help(tool, capsys):
    """Every subcommand describes itself, and no flag is there twice."""
    for part in ROWS:
        with pytest.raises(SystemExit) as end:
            tool.main([part, '--help'])
        assert end.value.code == 0
        assert '--repeats' in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        tool.main(['ops', '--repeats', '0'])
    assert end.value.code == 2


def test_sides_take_turns_after_a_warm_up():
    calls = []

    def side(name):
        return lambda: calls.append(name) or len(calls)

    found = common.take_turns({name: side(name) for name in 'abc'}, repeats=3)
    assert ''.join(calls) == 'abc' + 'abc' + 'bca' + 'cab'
    assert found == {'a': [4, 9, 11], 'b': [5, 7, 12], 'c': [6, 8, 10]}


def test_a_side_that_did_part_of_the_work():
    rounds = {'ours': [1.0, 2.0, 9.0], 'other': [6.0, 4.0], 'broken': []}
    row = common.make_row('x', 's', rounds, 'ours', {'other': {'n': 2}}, {'other': [1.0, 3.0]})
    assert row['sides']['ours']['median'] == 2
    assert row['sides']['other'] | {} == dict(
        median=5, ratio=2.5, n=2, rounds=[6.0, 4.0], reference_rounds=[1.0, 3.0]
    )
    assert row['sides']['broken']['ratio'] is None


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> Path:
    return common.render_video(tmp_path_factory.mktemp('video') / 'v.mp4', (48, 64), 40)


def clips_of(pipeline, videos) -> tuple[list, dict[str, list]]:
    """Our packed clips, and MMAction2's by reader."""
    samples = loader.draw_samples(videos, 3, seed=0)
    ours = loader.load_all(loader.build(pipeline), samples)
    clip = loader.build(pipeline[:1])
    others = {}
    for reader in loader.readers():
        inputs = [loader.theirs(sample, clip) for sample in samples]
        others[reader] = loader.load_all(loader.build(loader.counterpart(pipeline, reader)), inputs)
    return ours, others


@pytest.mark.slow
@pytest.mark.parametrize('pair', ['jhmdb_static_to_moving', 'jhmdb_to_ucf101'])
@pytest.mark.parametrize('stages', ['decoded', 'packed'])
def test_both_pipelines_do_the_same(pair, stages, video, request):
    """With PyAV, frames before augmentation and clips without colour are equal bit by bit.

    Decord, whose FFmpeg is another one, may differ by a few grey levels.
    """
    own = load_row(pair, 'full').train_dataloader.dataset.source.pipeline
    videos = [video]
    if stages == 'decoded':
        own = [*own[:2], own[-1]]
    plain, coloured = loader.pipelines(own, '').values()
    ours, others = clips_of(plain, videos)
    assert ours[0]['inputs'].shape[1] == own[0].clip_len
    for reader, theirs in others.items():
        for a, b in zip(ours, theirs, strict=True):
            assert a['inputs'].dtype == b['inputs'].dtype == torch.uint8
            difference = (a['inputs'].int() - b['inputs'].int()).abs().max()
            assert difference <= (0 if reader == 'PyAV' else readers.WRONG)
    # colours are drawn by each in its own order, within the same ranges
    types = [stage['type'] for stage in loader.counterpart(coloured, 'PyAV')]
    assert types.count('mmaction.ColorJitter') == 1
    jitter = loader.counterpart(coloured, 'PyAV')[types.index('mmaction.ColorJitter')]
    assert jitter == dict(
        type='mmaction.ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0
    )


@pytest.mark.slow
def test_real_videos_are_decoded_alike(test_data):
    """JHMDB's AVI files, whose headers are wrong, and UCF101's, which decord decodes otherwise."""
    videos = sorted((test_data / 'jhmdb/clips').rglob('*.avi'))[:1]
    videos += sorted((test_data / 'ucf101_24/videos').rglob('*.avi'))[:1]
    own = load_row('jhmdb_static_to_moving', 'full').train_dataloader.dataset.source.pipeline
    ours, others = clips_of([*own[:2], own[-1]], videos)
    for reader, theirs in others.items():
        for a, b in zip(ours, theirs, strict=True):
            difference = (a['inputs'].int() - b['inputs'].int()).abs().max()
            assert difference <= (0 if reader == 'PyAV' else readers.WRONG)


@pytest.mark.slow
def test_ways_to_detect_agree(video, tmp_path):
    """What is timed is what is meant: together loads the same clips, and says which are shared."""
    config = load_row('synthetic_a', 'full')
    dataset = infer.video_dataset(video, config, tmp_path)
    assert len(dataset) == 40
    together = dataset.__getitems__([18, 19, 20])
    for index, sample in zip([18, 19, 20], together, strict=True):
        alone = dataset[index]
        assert torch.equal(alone['inputs'], sample['inputs'])
        assert 'frame_ids' not in alone['data_samples'] and 'frame_ids' in sample['data_samples']
    assert [len(part) for part in infer.split(range(7), 3)] == [3, 3, 1]


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_with_cp_reaches_every_backbone(name):
    plain = load_row('synthetic_a', name)
    changed = train.with_checkpointing(plain).model
    networks = {'slowfast': ('slow_pathway', 'fast_pathway'), 'slowonly': ()}
    parts = [changed.backbone[key] for key in networks.get(name, ())] or [changed.backbone]
    parts += [changed.clip_backbone] if name not in networks else []
    assert all(part.with_cp for part in parts)
    assert 'with_cp' not in str(plain.model)


def hundred_mebibytes() -> np.ndarray:
    """Pages that the process did not have: an allocation might reuse what others gave back."""
    block = np.frombuffer(mmap.mmap(-1, 100 * 2**20), np.uint8)
    block.fill(1)
    return block


def test_memory_is_that_of_the_function():
    """A hundred MiB that the function touches, of a process of its own."""
    assert 95 < train.peak_in_fork(hundred_mebibytes) < 150
    with pytest.raises(OSError, match='no such thing'):
        train.peak_in_fork(lambda: {}['no such thing'])


def test_resident_memory_is_the_kernels():
    """As /proc/self/status counts it, before and after a hundred MiB more."""
    before = loader.resident_mebibytes()
    block = hundred_mebibytes()
    status = Path('/proc/self/status').read_text().split('VmRSS:')[1].split()[0]
    found = loader.resident_mebibytes()
    assert found == pytest.approx(int(status) / 1024, abs=8) and 95 < found - before < 110
    del block


@pytest.mark.slow
def test_a_process_that_fails_is_named_with_its_reason():
    with (
        scaling.started([(1, 1)], ('synthetic_a', (32, 48), 1)) as groups,
        pytest.raises(OSError, match='1 x 1 ended(.|\n)*at least 2 clips'),
    ):
        groups['1 x 1']()


def test_layouts(tool):
    args = tool.parse_args(['scaling', '--layouts', '2x1', '1x4'])
    assert args.layouts == [(2, 1), (1, 4)]
    for wrong in ('2', 'x', '0x1', '2x-1'):
        with pytest.raises(SystemExit):
            tool.parse_args(['scaling', '--layouts', wrong])


def test_ground_truth_from_a_file(tool, tmp_path, capsys):
    args = tool.parse_args(['eval', '--videos', '2', '--frames', '40'])
    gt = evaluation.made_up_ground_truth(args)
    gt['test_videos'] = [gt.pop('videos')[:1]]
    (tmp_path / 'gt.pkl').write_bytes(pickle.dumps(gt))
    gt = evaluation.read_ground_truth(str(tmp_path / 'gt.pkl'), 'test')
    assert len(gt['videos']) == 1
    assert tool.main(['eval', '--gt', str(tmp_path / 'none.pkl')]) == 2
    assert 'none.pkl' in capsys.readouterr().err
