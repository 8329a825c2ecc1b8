"""tools/data/prepare.py from the outside: what it writes, prints and returns."""

import json
import os
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmstal_da.tubes.annotation import (
    Annotation,
    Tube,
    Video,
    load_annotation,
    save_annotation,
)

PREPARE = Path(__file__).parents[2] / 'tools/data/prepare.py'


@pytest.fixture
def prepare(capsys):
    """Run the tool: exit code, stdout and stderr."""
    main = runpy.run_path(str(PREPARE))['main']

    def run(*args):
        code = main([str(arg) for arg in args])
        return code, *capsys.readouterr()

    return run


def sports(folder, count=3):
    """A tree of UCF-Sports with images named after footage, all but the first annotated."""
    for label, number in (('Lifting', '001'), ('Walk-Front', '002')):
        place = folder / 'ucf action' / label / number
        (place / 'gt').mkdir(parents=True)
        for n in range(count + 1):
            Image.new('RGB', (60 + count, 40)).save(place / f'3246-7_{700008 + n}.jpg')
            if n:
                box = f'{n}\t2\t{10 if n < count else 0}\t9\tRunning\n'
                (place / f'gt/3246-7_{700008 + n}.tif.txt').write_text(box)
    return folder


def test_stats_and_problems(tmp_path, prepare):
    lists = {'x_train.txt': 'Lifting/001\n', 'x_test.txt': 'Walk-Front/002\n'}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    code, out, err = prepare(
        'ucf_sports', '--annotations', sports(tmp_path / 'in'), '--out', tmp_path / 'out',
        '--splits', *(tmp_path / name for name in lists), '--stats', tmp_path / 'stats.json',
    )  # fmt: skip
    assert (code, err) == (0, '')
    assert 'read ground-truth text files: 2 videos, 2 tubes, 6 boxes (4 written), 2 classes' in out
    assert '2 videos without a size' in out
    assert '2 videos of unknown length' in out
    assert "video 'Lifting/001', frame 3: box 3 2 0 9 is degenerate: 0 x 9 pixels; left out" in out
    stats = json.loads((tmp_path / 'stats.json').read_text())
    assert {key: stats[key] for key in ('videos', 'tubes', 'boxes', 'boxes_written')} == dict(
        videos=2, tubes=2, boxes=6, boxes_written=4
    )
    assert [(p['video'], p['frame'], p['box'], p['done']) for p in stats['problems']] == [
        ('Lifting/001', 3, [3, 2, 0, 9], 'left out'),
        ('Walk-Front/002', 3, [3, 2, 0, 9], 'left out'),
    ]
    one = dict(videos=1, tubes=1, boxes=3, boxes_written=2)
    none = dict.fromkeys(one, 0)
    assert stats['classes'] == {'Lifting': one, 'Walk-Front': one}
    assert stats['splits']['train'] == {**one, 'classes': {'Lifting': one, 'Walk-Front': none}}
    annotation = load_annotation(tmp_path / 'out/ucf_sports.json')
    assert annotation.splits['test'] == ['Walk-Front/002']
    assert annotation.videos['Lifting/001'] == Video('Lifting/001', 3, filename_tmpl='{:06d}.jpg')


def test_images_of_ucf_sports_are_linked_and_read(tmp_path, prepare):
    source = sports(tmp_path / 'in')
    arguments = ('ucf_sports', '--annotations', source, '--frames', source, '--out', tmp_path)
    code, _, err = prepare(*arguments)
    assert code == 1
    assert 'not numbered from 1' in err
    assert '--link-frames DIR' in err
    links = tmp_path / 'Frames'
    code, out, _ = prepare(*arguments, '--link-frames', links)
    assert code == 0
    assert 'unknown length' not in out
    annotation = load_annotation(tmp_path / 'ucf_sports.json')
    assert annotation.videos['Lifting/001'] == Video(
        'Lifting/001', 4, 63, 40, filename_tmpl='{:06d}.jpg'
    )
    # the first image is not annotated
    assert annotation.tubes['Lifting/001'][0].frames.tolist() == [2, 3]
    assert (links / 'Lifting/001/000002.jpg').resolve().name == '3246-7_700009.jpg'
    assert prepare('check', tmp_path / 'ucf_sports.json', '--frames', links)[0] == 0
    # prepared from the links, the images are numbered already
    code, _, _ = prepare(
        'ucf_sports', '--annotations', source, '--frames', links, '--out', tmp_path / 'x.json'
    )
    assert code == 0
    assert load_annotation(tmp_path / 'x.json').videos == annotation.videos


def test_annotations_alone_need_no_pixels(tmp_path, prepare, monkeypatch):
    def opened(*args, **kwargs):
        raise AssertionError('pixels were opened')

    source = sports(tmp_path / 'in')
    monkeypatch.setattr('av.open', opened)
    monkeypatch.setattr('PIL.Image.open', opened)
    monkeypatch.setattr('cv2.imread', opened)
    code, _, err = prepare('ucf_sports', '--annotations', source, '--out', tmp_path)
    assert code == 0, err


def test_interrupted_writing_leaves_what_was_there(tmp_path, prepare, monkeypatch):
    toy(tmp_path)
    source, out = tmp_path / 'toy.json', tmp_path / 'out'
    commands = [
        ('export', 'act', source, '--out', out / 'GT.pkl'),
        ('export', 'ava', source, '--out', out),
        ('check', source, '--report', out / 'report.json'),
        ('ucf_sports', '--annotations', sports(tmp_path / 'in'), '--out', out / 'x.json',
         '--stats', out / 'stats.json'),
    ]  # fmt: skip
    for command in commands:
        assert prepare(*command)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir()}

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    for command in commands:
        code, _, err = prepare(*command)
        assert code == 1
        assert 'No space left' in err
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_frame_sizes_fill_in_what_is_not_known(tmp_path, prepare):
    source = sports(tmp_path / 'in')
    (tmp_path / 'sizes.json').write_text('{"Lifting/001": [720, 404]}')
    code, out, _ = prepare(
        'ucf_sports', '--annotations', source, '--out', tmp_path / 'x.json',
        '--frame-sizes', tmp_path / 'sizes.json',
    )  # fmt: skip
    assert code == 0
    assert '1 videos without a size' in out
    videos = load_annotation(tmp_path / 'x.json').videos
    assert (videos['Lifting/001'].width, videos['Lifting/001'].height) == (720, 404)
    (tmp_path / 'sizes.json').write_text('Lifting: 720x404')
    code, _, err = prepare(
        'ucf_sports', '--annotations', source, '--out', tmp_path / 'y.json',
        '--frame-sizes', tmp_path / 'sizes.json',
    )  # fmt: skip
    assert (code, (tmp_path / 'y.json').exists()) == (1, False)
    assert 'sizes.json: not JSON' in err


def test_classes_take_their_problems_along(tmp_path, prepare):
    code, out, _ = prepare(
        'ucf_sports', '--annotations', sports(tmp_path / 'in'), '--out', tmp_path / 'x.json',
        '--classes', 'Lifting',
    )  # fmt: skip
    assert code == 0
    assert '1 videos, 1 tubes, 3 boxes (2 written)' in out
    assert 'Walk' not in out


def toy(folder) -> Annotation:
    """Two clips of images, named as in an annotation."""
    box = np.array([[1, 2, 30, 20.5]], np.float32)
    annotation = Annotation('toy', ['run', 'jump'])
    for name, label in (('a', 'run'), ('b', 'jump')):
        (folder / 'videos' / name).mkdir(parents=True)
        for number in range(1, 4):
            Image.new('RGB', (64, 48)).save(folder / f'videos/{name}/{number}.png')
        annotation.videos[name] = Video(name, 3, 64, 48, '{:d}.png')
        annotation.tubes[name] = [Tube(label, np.array([2]), box)]
    annotation.splits = {'train': ['a', 'b'], 'test': ['b', 'a']}
    save_annotation(annotation, folder / 'toy.json')
    return load_annotation(folder / 'toy.json')


def test_exports_come_back_exactly(tmp_path, prepare):
    annotation = toy(tmp_path)
    annotation.splits['all'] = ['a', 'b']
    source = tmp_path / 'toy.json'
    assert prepare('export', 'act', source, '--out', tmp_path / 'GT.pkl')[0] == 0
    assert prepare('export', 'ava', source, '--out', tmp_path / 'ava')[0] == 0
    for command, path in (('act', tmp_path / 'GT.pkl'), ('ava', tmp_path / 'ava')):
        out = tmp_path / f'{command}.json'
        assert prepare(command, '--annotations', path, '--out', out)[0] == 0
        assert load_annotation(out) == annotation
    with open(tmp_path / 'GT.pkl', 'rb') as file:
        assert pickle.load(file)['gttubes']['b'][1][0].tolist() == [[2, 1, 2, 30, 20.5]]
    code, out, _ = prepare('export', 'ava', source, '--split', 'test', '--out', tmp_path / 'one')
    assert code == 0
    assert sorted(os.listdir(tmp_path / 'one')) == [
        'toy_action_list.pbtxt', 'toy_test.csv', 'toy_test_proposals.pkl', 'toy_videos.json',
    ]  # fmt: skip
    code, _, err = prepare('export', 'act', source, '--out', tmp_path)
    assert code == 1
    assert 'give the .pkl file' in err


def test_check_reports_and_returns(tmp_path, prepare):
    toy(tmp_path)
    source, report = tmp_path / 'toy.json', tmp_path / 'report.json'
    code, out, _ = prepare('check', source)  # the folder videos/ beside it
    assert code == 0
    assert f'{source}: 2 videos in {tmp_path / "videos"}, 0 complaints' in out
    (tmp_path / 'videos/b/2.png').write_text('no image')
    code, out, err = prepare('check', source, '--workers', 2, '--report', report)
    assert code == 1
    assert "video 'b'" in out
    assert '2.png, frame 2: the image cannot be decoded' in out
    assert 'checking' in err
    written = json.loads(report.read_text())
    assert (written['videos'], len(written['complaints'])) == (2, 1)
    complaint = written['complaints'][0]
    assert (complaint['kind'], complaint['video'], complaint['frame']) == ('unreadable', 'b', 2)
    assert complaint['remedy']
    code, _, err = prepare('check', source, '--frames', tmp_path / 'nowhere')
    assert code == 1
    assert "nowhere'" in err


def test_an_annotation_that_is_broken_is_a_complaint(tmp_path, prepare):
    toy(tmp_path)
    text = (tmp_path / 'toy.json').read_text().replace('"frames":[2]', '"frames":[9]')
    (tmp_path / 'toy.json').write_text(text)
    code, _, err = prepare('check', tmp_path / 'toy.json')
    assert code == 1
    assert "video 'a', tube 0: frame 9 is outside 1..3" in err


@pytest.mark.parametrize('arguments, message', [
    (('--only-present',), '--only-present needs --frames'),
    (('--link-frames', 'x'), '--link-frames needs --frames'),
])  # fmt: skip
def test_options_that_need_another(tmp_path, prepare, capsys, arguments, message):
    with pytest.raises(SystemExit):
        prepare('ucf_sports', '--annotations', tmp_path, '--out', tmp_path, *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('dataset, kinds', [
    ('ucf101_24', 'pyannot.pkl'), ('jhmdb', 'jhmdb_annot.mat'), ('ucf_sports', '.tar.gz'),
    ('act', "ACT's format"),
])  # fmt: skip
def test_other_files_are_refused_and_nothing_is_written(tmp_path, prepare, dataset, kinds):
    (tmp_path / 'x.pdf').write_text('no annotation')
    code, _, err = prepare(
        dataset, '--annotations', tmp_path / 'x.pdf', '--out', tmp_path / 'out',
        '--stats', tmp_path / 'stats.json',
    )  # fmt: skip
    assert code == 1
    assert kinds in err
    assert 'x.pdf' in err
    assert [path.name for path in tmp_path.iterdir()] == ['x.pdf']


def test_code_in_a_pickle_is_not_run(tmp_path, prepare):
    class Evil:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/ran',)

    (tmp_path / 'GT.pkl').write_bytes(pickle.dumps({'labels': Evil()}))
    code, _, err = prepare('act', '--annotations', tmp_path / 'GT.pkl', '--out', tmp_path / 'o')
    assert code == 1
    assert 'system' in err
    assert not (tmp_path / 'ran').exists()


COUNTS = {
    'ucf101_24': (dict(videos=3194, tubes=4458, boxes=573862), 2, 0),  # two tubes twice
    'jhmdb': (dict(videos=928, tubes=928, boxes=31838), 0, 0),
    'ucf_sports': (dict(videos=150, tubes=150, boxes=9580), 4, 4),
}
SPLITS = {'ucf101_24': (2284, 910), 'jhmdb': (660, 268), 'ucf_sports': (103, 47)}


@pytest.mark.slow
@pytest.mark.parametrize('dataset', COUNTS)
def test_real_counts(prepared, dataset):
    counts, problems, left_out = COUNTS[dataset]
    folder = prepared / dataset
    stats = json.loads((folder / 'stats.json').read_text())
    assert {key: stats[key] for key in counts} == counts
    assert len(stats['problems']) == problems
    assert stats['boxes_written'] == counts['boxes'] - left_out
    for key in ('videos', 'tubes', 'boxes', 'boxes_written'):
        parts = [stats['splits'][part] for part in ('train', 'test')]
        assert sum(part[key] for part in parts) == stats[key]
        assert sum(count[key] for count in stats['classes'].values()) == stats[key]
    assert tuple(stats['splits'][part]['videos'] for part in ('train', 'test')) == SPLITS[dataset]
    annotation = load_annotation(folder / f'{dataset}.json')
    assert len(annotation.videos) == counts['videos']


@pytest.mark.slow
def test_real_clips_of_ucf101(test_data, tmp_path, prepare):
    """Re-encoded clips (340x256 of 320x240) are no reason to complain."""
    folder = test_data / 'ucf101_24'
    out = tmp_path / 'u.json'
    names = sorted({path.name.split('_')[1] for path in (folder / 'videos').iterdir()})
    code, _, err = prepare(
        'ucf101_24', '--annotations', folder / 'pyannot.pkl', '--frames', folder / 'videos',
        '--only-present', '--classes', *names, '--out', out,
    )  # fmt: skip
    assert code == 0, err
    code, printed, _ = prepare('check', out, '--frames', folder / 'videos')
    assert (code, '17 videos' in printed) == (0, True), printed
