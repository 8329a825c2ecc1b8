"""The folder that make_synthetic.py writes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mmstal_da.synthetic import (
    ClipSettings,
    OutputExistsError,
    Shift,
    SyntheticConfig,
    annotate,
    generate,
    render_clip,
    sample_clip,
)
from mmstal_da.synthetic.generate import plan_clips
from mmstal_da.tubes.annotation import load_annotation, save_annotation
from mmstal_da.video.writer import write_video
from tests.load_tool import load_tool
from tests.test_synthetic.cases import FULL_SHIFT, SMALL, seed

FEW = SyntheticConfig(
    source_train=2, source_test=1, target_train=2, target_test=1, clip=SMALL, shift=FULL_SHIFT
)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_video_decodes_frame_exact(tmp_path):
    frames, _ = render_clip(sample_clip('push', seed(1), ClipSettings(), Shift(0.6, 0.6, 0.5)))
    write_video(tmp_path / 'a.mp4', frames, fps=25)
    with av.open(str(tmp_path / 'a.mp4')) as container:
        by_av = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    capture, by_cv = cv2.VideoCapture(str(tmp_path / 'a.mp4')), []
    while (item := capture.read())[0]:
        by_cv.append(item[1][..., ::-1])
    assert len(frames) == len(by_av) == len(by_cv) == capture.get(cv2.CAP_PROP_FRAME_COUNT)
    for original, one, other in zip(frames, by_av, by_cv, strict=True):
        assert np.abs(original.astype(int) - one).mean() < 6
        assert np.abs(original.astype(int) - other).mean() < 6
        # it is this frame, not a neighbour: nothing is closer to it than itself
    errors = [[np.abs(a.astype(int) - b).mean() for b in frames[:8]] for a in by_av[:8]]
    assert np.argmin(errors, axis=1).tolist() == list(range(8))


@pytest.mark.parametrize(('width', 'height', 'tree'), [(64, 48, 0), (128, 96, 1), (176, 144, 0)])
def test_what_makes_x264_irreproducible_is_off(tmp_path, width, height, tree):
    write_video(tmp_path / 'a.mp4', np.zeros((2, height, width, 3), np.uint8), 25)
    assert f'mbtree={tree} '.encode() in (tmp_path / 'a.mp4').read_bytes()


def test_bad_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match='even'):
        write_video(tmp_path / 'a.mp4', np.zeros((2, 32, 33, 3), np.uint8), 25)
    with pytest.raises(ValueError, match='uint8'):
        write_video(tmp_path / 'a.mp4', np.zeros((2, 32, 32, 3)), 25)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('pair') / 'synthetic'
    assert generate(out, FEW)
    return out


def test_annotations_are_valid_and_agree_with_the_videos(made):
    for domain in ('source', 'target'):
        annotation = load_annotation(made / f'{domain}.json')
        assert annotation.classes == ['pull', 'push', 'squat', 'wave']
        assert {split: len(names) for split, names in annotation.splits.items()} == {
            'train': 2,
            'test': 1,
        }
        for name, video in annotation.videos.items():
            with av.open(str(made / video.path)) as container:
                decoded = [frame for frame in container.decode(video=0)]
            assert len(decoded) == video.num_frames
            assert (decoded[0].width, decoded[0].height) == (64, 48) == (video.width, video.height)
            assert annotation.tubes[name]
            assert {tube.label for tube in annotation.tubes[name]} == {name.split('/')[0]}
            assert video.path.startswith(f'{domain}/{name.split("/")[0]}/')


@pytest.mark.slow
def test_a_seed_gives_the_same_bytes_whatever_the_workers(made, tmp_path):
    assert generate(tmp_path / 'again', FEW, workers=2)
    assert digests(tmp_path / 'again') == digests(made)
    assert generate(tmp_path / 'other', replace(FEW, seed=1))
    differing = digests(tmp_path / 'other')
    assert all(differing[name] != digest for name, digest in digests(made).items()
               if name.endswith('.mp4'))  # fmt: skip


def test_no_two_clips_are_alike(made):
    videos = [digest for name, digest in digests(made).items() if name.endswith('.mp4')]
    assert len(videos) == 6 == len(set(videos))


def test_repeating_is_a_no_op_and_other_parameters_are_an_error(made):
    before = digests(made)
    assert not generate(made, FEW)
    with pytest.raises(OutputExistsError, match=r'seed is 0, not 3.*--overwrite'):
        generate(made, replace(FEW, seed=3))
    with pytest.raises(OutputExistsError, match=r'shift.camera is 1, not 0.5'):
        generate(made, replace(FEW, shift=replace(FULL_SHIFT, camera=0.5)))
    assert digests(made) == before


@pytest.mark.slow
def test_missing_videos_are_noticed_and_overwrite_repairs(tmp_path):
    out = tmp_path / 'pair'
    generate(out, FEW)
    before = digests(out)
    next(out.rglob('*.mp4')).unlink()
    with pytest.raises(OutputExistsError, match='1 files are missing'):
        generate(out, FEW)
    assert generate(out, FEW, overwrite=True)
    assert digests(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ['pair']


def test_foreign_folders_are_never_replaced(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('years of work')
    with pytest.raises(OutputExistsError, match='not made by this tool'):
        generate(tmp_path / 'mine', FEW, overwrite=True)
    (tmp_path / 'mine' / 'synthetic.json').write_text('{"generator": "other"}')
    with pytest.raises(OutputExistsError, match='not a manifest'):
        generate(tmp_path / 'mine', FEW, overwrite=True)
    assert (tmp_path / 'mine' / 'thesis.txt').exists()


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'pair', FEW, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    generate(tmp_path / 'pair', FEW)
    kept = digests(tmp_path / 'pair')
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / 'pair', FEW, overwrite=True, progress=interrupt)
    assert digests(tmp_path / 'pair') == kept
    assert [path.name for path in tmp_path.iterdir()] == ['pair']


def test_command_line(tmp_path, capsys, monkeypatch):
    tool = load_tool('data/make_synthetic')
    out = tmp_path / 'pair'
    args = ['--out', str(out), '--preset', 'tiny', '--classes', 'walk', 'walk_backward']
    args += ['--source-train', '1', '--source-test', '0', '--target-train', '1']
    args += [
        '--target-test',
        '0',
        '--min-frames',
        '4',
        '--max-frames',
        '4',
        '--untrimmed',
        'target',
    ]
    assert tool.main(args) == 0
    assert str(out / 'source.json') in capsys.readouterr().out
    manifest = json.loads((out / 'synthetic.json').read_text())
    assert manifest['parameters']['classes'] == ['walk', 'walk_backward']
    assert manifest['parameters']['clip']['width'] == 64
    target = load_annotation(out / 'target.json')
    source = load_annotation(out / 'source.json')
    assert source.videos['walk/source_train_000'].num_frames == 4
    assert target.videos['walk/target_train_000'].num_frames >= 20
    assert tool.main(args) == 0
    assert 'up to date' in capsys.readouterr().out
    with pytest.raises(ValueError, match="names domains of .*, not \\('both',\\)"):
        SyntheticConfig(untrimmed=('both',))
    assert tool.main([*args, '--shift-tempo', '0']) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert tool.main([*args, '--shift-tempo', '2']) == 2
    assert 'shift in tempo' in capsys.readouterr().err


def test_each_clip_draws_its_share_of_the_shift():
    shift = Shift(appearance=0.8, tempo=0.4)
    config = SyntheticConfig(target_train=200, shift=shift, vary_shift=True)
    tasks = plan_clips(config)
    assert all(task.shift == Shift() for task in tasks if task.domain == 'source')
    shares = [task.shift.appearance / 0.8 for task in tasks if task.domain == 'target']
    np.testing.assert_allclose(
        [task.shift.tempo / 0.4 for task in tasks if task.domain == 'target'], shares
    )
    assert 0 <= min(shares) < 0.1 < 0.9 < max(shares) <= 1
    assert abs(np.mean(shares) - 0.5) < 0.1


@pytest.mark.slow
def test_annotations_alone_are_those_of_the_pair(made, tmp_path, capsys):
    """The same bytes as with videos, of an untrimmed target too."""
    longer = replace(FEW, untrimmed=('source', 'target'))
    assert generate(tmp_path / 'untrimmed', longer)
    for config, folder in ((FEW, made), (longer, tmp_path / 'untrimmed')):
        for domain, annotation in annotate(config).items():
            save_annotation(annotation, tmp_path / 'alone.json')
            assert (tmp_path / 'alone.json').read_bytes() == (
                folder / f'{domain}.json'
            ).read_bytes()
    tool = load_tool('data/make_synthetic')
    flags = ['--preset', 'tiny', '--annotations-only', '--out']
    assert tool.main([*flags, str(tmp_path / 'new')]) == 0
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == [
        'source.json',
        'target.json',
    ]
    assert tool.main([*flags, str(made)]) == 2
    assert 'holds a pair with videos' in capsys.readouterr().err
