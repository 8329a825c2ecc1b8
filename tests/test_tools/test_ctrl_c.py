"""Ctrl-C in the tools: where they stopped, a command that goes on, and no half of a file."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from test_end_to_end import tiny_config

from mmstal_da.evaluation.metrics import TubeMetric
from mmstal_da.synthetic import PRESETS, generate
from tests.clips import write_dataset
from tests.load_tool import TOOLS, load_tool, run_tool
from tests.model_builders import CONFIGS, FROM_RANDOM_WEIGHTS, TINY, build_detector

ITERS = 4


@pytest.fixture(autouse=True)
def handler():
    """An interrupted tool leaves its own handler of Ctrl-C behind, as its process ends."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(tool: str, *words, when: Path) -> tuple[int, str, list[str]]:
    """Start a tool, and interrupt it when a file is there.

    Returns:
        Its exit status, the sentence, and the arguments of the command that goes on.
    """
    argv = [sys.executable, str(TOOLS / f'{tool}.py'), *map(str, words)]
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 300
    while not when.is_file():
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()[-2000:]
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    (sentence,) = re.findall(r'^\w+\.py: stopped .*$', err, re.MULTILINE)
    assert 'Traceback' not in err
    command = shlex.split(sentence.partition('; to go on: ')[2])
    assert command[1] == argv[1]
    return process.returncode, sentence, command[2:]


def partial_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob('*') if path.name.endswith('.tmp')]


# two processes that import torch, of which one is killed; the rest runs here
@pytest.mark.slow
def test_a_training_goes_on_by_the_command_that_it_names(tmp_path, monkeypatch, capsys):
    generate(tmp_path / 'data', PRESETS['tiny'])
    options = {'train_cfg.max_iters': ITERS, 'train_dataloader.batch_size': 1}
    options['default_hooks.checkpoint.interval'] = 1
    cfg = tiny_config(tmp_path / 'data', tmp_path, 't_img', **options)
    cfg.pop('work_dir')
    cfg.dump(tmp_path / 'row.py')
    folder = tmp_path / 'run'
    words = (tmp_path / 'row.py', '--work-dir', folder, '--seed', 1, '--no-validate')
    code, sentence, again = interrupt('train', *words, when=folder / 'iter_2.pth')
    assert code == 130
    saved = re.search(rf'after iteration \d of {ITERS} \(saved: (\S+/iter_\d\.pth)\)', sentence)
    assert Path(saved[1]).is_file() and not partial_files(folder)
    last = folder / f'iter_{ITERS}.pth'
    assert not last.exists() and again[-1] == '--resume'
    run_tool('train', *again)
    assert last.is_file()
    newest = max(folder.glob('*/vis_data/scalars.json'))
    first = int(Path(saved[1]).stem.removeprefix('iter_')) + 1
    assert [json.loads(line)['iter'] for line in newest.open()] == list(range(first, ITERS + 1))

    # its test, interrupted in the middle
    process, calls = TubeMetric.process, iter(range(10**6))

    def interrupted(self, *args):
        if next(calls) == 1:
            raise KeyboardInterrupt
        process(self, *args)

    words = (tmp_path / 'row.py', last, '--work-dir', folder / 'test')
    argv = ['tools/test.py', *map(str, words)]
    monkeypatch.setattr(TubeMetric, 'process', interrupted)
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setenv('LOCAL_RANK', '0')
    capsys.readouterr()
    assert load_tool('test').main() == 130
    said = capsys.readouterr().err
    assert 'test.py: stopped after batch 1 of ' in said and '(nothing was written)' in said
    assert shlex.split(said.partition('to go on: ')[2])[2:] == argv[1:]
    assert not list((folder / 'test').glob('*/*.json'))


@pytest.fixture()
def clips(tmp_path):
    """Two videos of 40 frames in ``in``, with their annotation."""
    write_dataset(tmp_path / 'in', ['a', 'b'], ['pull', 'push'], num_frames=40)
    return tmp_path


@pytest.fixture()
def videos(clips):
    """The same, and a tiny detector with random weights."""
    tmp_path = clips
    (ann_file,) = (tmp_path / 'in').glob('*.json')
    config = Config.fromfile(CONFIGS / 'synthetic/source_only.py')
    config.merge_from_dict(
        {f'model.{key}': value for key, value in (TINY | FROM_RANDOM_WEIGHTS).items()}
    )
    data = dict(data_root='', ann_file=str(ann_file), data_prefix=str(tmp_path / 'in'))
    data |= dict(split='train', classes=['pull', 'push'])
    config.train_dataloader.dataset.source.update(data)
    config.test_dataloader.dataset.update(data)
    config.dump(tmp_path / 'config.py')
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=('pull', 'push', 'squat')))
    state = build_detector().state_dict()
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'x.pth')
    return tmp_path


@pytest.mark.slow
def test_the_videos_that_are_done_are_kept(videos):
    out = videos / 'out'
    words = (videos / 'x.pth', videos / 'in', '--out', out, '--device', 'cpu', '--batch-size', 1)
    first, second = (
        out / path.relative_to(videos / 'in').with_suffix('') / 'result.json'
        for path in sorted((videos / 'in').rglob('*.mkv'))
    )
    code, sentence, again = interrupt('infer', *words, when=first)
    assert code == 130
    # the first one's file is there a moment before it counts
    assert re.search(', with [01] of 2 videos done in ', sentence) and not second.exists()
    assert not partial_files(out) and not list(out.rglob('.video.mp4*'))
    before = first.stat().st_mtime_ns
    assert load_tool('infer').main(again) == 0
    assert first.stat().st_mtime_ns == before and second.is_file()


@pytest.mark.slow
def test_proposals_are_written_whole_or_not_at_all(videos, monkeypatch, capsys):
    tool, out = load_tool('data/dump_proposals'), videos / 'p.npz'
    words = [str(videos / 'config.py'), str(videos / 'x.pth'), '--out', str(out)]
    words += ['--workers', '0', '--batch-size', '4', '--part', 'train']

    def third(detector, batches, most):
        for number, _ in enumerate(batches):
            if number == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'propose', third)
        assert tool.main(words) == 130
    said = capsys.readouterr().err
    assert 'dump_proposals.py: stopped after batch 2 of train (nothing was written)' in said
    assert not out.exists() and not partial_files(videos)
    assert tool.main(shlex.split(said.partition('to go on: ')[2])[2:]) == 0
    assert out.is_file()


@pytest.mark.parametrize('workers', [1, 2])
def test_a_check_says_how_far_it_came(clips, monkeypatch, capsys, workers):
    tool = load_tool('data/prepare')
    (ann_file,) = (clips / 'in').glob('*.json')
    report = clips / 'report.json'
    words = ['check', str(ann_file), '--frames', str(clips / 'in'), '--report', str(report)]
    words += ['--workers', str(workers)]
    check = tool.check_videos

    def first(*args):
        yield next(iter(check(*args)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'check_videos', first)
        assert tool.main(words) == 130
    said = capsys.readouterr().err
    assert f'prepare.py: stopped after 1 of 2 videos of {ann_file} (no report was written)' in said
    assert not report.exists()
    assert tool.main(shlex.split(said.partition('to go on: ')[2])[2:]) == 0
    assert report.is_file()


def test_a_conversion_leaves_nothing_behind(clips, monkeypatch, capsys):
    tool, out = load_tool('data/prepare'), clips / 'made'
    (ann_file,) = (clips / 'in').glob('*.json')
    assert tool.main(['export', 'coco_video', str(ann_file), '--out', str(clips / 'c.json')]) == 0
    words = ['coco_video', '--annotations', str(clips / 'c.json'), '--out', str(out)]

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'measure', interrupted)
        assert tool.main([*words, '--frames', str(clips / 'in')]) == 130
    said = capsys.readouterr().err
    assert 'prepare.py: stopped while it looked at the videos in ' in said
    assert 'coco_video.json was not written)' in said and not out.exists()
