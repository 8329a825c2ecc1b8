"""The page of compare_runs.py, opened in a browser."""

import json
import re

import numpy as np
import pytest

from mmstal_da.evaluation.files import save_detections
from mmstal_da.evaluation.functional import Detections
from mmstal_da.tubes.annotation import Annotation, Tube, Video, save_annotation
from tests.browser import PROGRAM, Browser
from tests.clips import write_video
from tests.load_tool import load_tool

FRAMES = 20
BOX = (16.0, 12.0, 39.0, 35.0)
NAMES = ['same', 'late <b>', 'never']


def level(number: int) -> int:
    """The grey of frame ``number``, from 1."""
    return 30 + 9 * number


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three videos of known greys; two runs that differ in the second video and in the third."""
    folder = tmp_path_factory.mktemp('page')
    annotation = Annotation('greys', ['a', 'b'], splits={'test': NAMES})
    for number, name in enumerate(NAMES):
        images = [np.full((48, 64, 3), level(i), np.uint8) for i in range(1, FRAMES + 1)]
        write_video(folder / 'videos' / f'{number}.mp4', images, 'libx264')
        annotation.videos[name] = Video(f'{number}.mp4', FRAMES, 64, 48, fps=25.0)
        frames, boxes = np.arange(1, FRAMES + 1), np.tile(np.float32(BOX), (FRAMES, 1))
        annotation.tubes[name] = [Tube('a', frames, boxes)]
    save_annotation(annotation, folder / 'ann.json')
    for run, found in (('first', (20, 5, 0)), ('second', (20, 20, 20))):
        rows = [(v, f, 0, 0.9, *BOX) for v, n in enumerate(found) for f in range(1, n + 1)]
        meta = {'split': 'test', 'background_frames': True}
        save_detections(
            folder / f'{run}.npz', Detections.from_rows(np.array(rows)), NAMES, ['a', 'b'], meta
        )
    return folder


def compare(folder, *flags, prefix='videos', runs=('first', 'second'), annotation='ann.json'):
    runs = [f'{run}={folder / run}.npz' for run in runs]
    flags = [*flags, '--data-prefix', folder / prefix, '--html', folder / 'page.html']
    main = load_tool('analysis_tools/compare_runs').main
    return main([str(arg) for arg in (folder / annotation, *runs, *flags)])


@pytest.mark.slow
def test_the_page_is_one_file_of_the_videos_that_differ_most(folder):
    assert compare(folder, '--html-videos', 2) == 0
    page = (folder / 'page.html').read_text()
    # names are text, not markup
    titles = re.findall(r'<h2>\d+\. (.*?) <small>', page)
    assert titles == ['never', 'late &lt;b&gt;'] and '>same<' not in page
    rows = re.findall(r'<tr><td><a href="#(entry\d)">(.*?)</a></td><td>a</td>(.*?)</tr>', page)
    assert [(place, name) for place, name, _ in rows] == [
        ('entry1', 'never'),
        ('entry2', 'late &lt;b&gt;'),
    ]
    # difference, frame-AP of both, video-AP of both, frames right of both
    cells = [re.findall(r'<td>(.*?)</td>', cells) for _, _, cells in rows]
    assert cells[0] == ['+100.0', '0.0', '100.0', '0.0', '100.0', '0', '20']
    assert cells[1] == ['+75.0', '25.0', '100.0', '0.0', '100.0', '5', '20']
    for source in re.findall(r'(?:src|href)="([^"]{1,30})', page):
        assert source.startswith(('data:video/mp4;base64,', '#'))
    assert 'url(' not in page and '@import' not in page


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason='no Chromium: apt-get install chromium')
def test_a_browser_plays_both_sides_in_step(folder):
    assert compare(folder, '--html-videos', 2) == 0
    read = """(() => {
        const entry = document.querySelector('#entry2'), video = entry.querySelector('video');
        const canvas = document.createElement('canvas');
        canvas.width = video.videoWidth; canvas.height = video.videoHeight;
        const pen = canvas.getContext('2d');
        pen.drawImage(video, 0, 0);
        const grey = x => pen.getImageData(Math.round(x * canvas.width), 8, 1, 1).data[0];
        return {left: grey(0.02), right: grey(0.98), time: video.currentTime,
                width: video.videoWidth, height: video.videoHeight, paused: video.paused,
                slider: Number(entry.querySelector('.slider').value),
                text: entry.querySelector('output').textContent};
    })()"""
    act = """(async () => {{
        const entry = document.querySelector('#entry2'), video = entry.querySelector('video');
        const done = new Promise(done => video.onseeked = () => setTimeout(done, 50));
        {action};
        await done;
    }})()"""

    def check(number: int) -> dict:
        """Both sides show frame ``number``."""
        found = browser.run(read)
        assert abs(found['left'] - level(number)) < 4 and abs(found['right'] - level(number)) < 4
        assert found['slider'] == number - 1
        assert found['text'] == f'frame {number} of 1 to {FRAMES}'
        return found

    with Browser() as browser:
        browser.open(folder / 'page.html')
        assert browser.run('document.querySelectorAll("video").length') == 2
        browser.run(
            'Promise.all(Array.from(document.querySelectorAll("video")).map(video =>'
            ' video.readyState >= 2 || new Promise(done => video.onloadeddata = done)))'
            '.then(() => 1)'
        )
        found = check(1)
        assert (found['width'], found['height']) == (2 * 384 + 4, 288)
        for action, number in (
            ("entry.querySelector('.next').click()", 2),
            ("entry.querySelector('.next').click()", 3),
            ("entry.querySelector('.back').click()", 2),
            ("entry.querySelector('.slider').value = 13; entry.querySelector('.slider').oninput()",
             14),
            ("entry.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))", 15),
        ):  # fmt: skip
            browser.run(act.format(action=action))
            check(number)
        # a box of the second run alone: at its left edge the halves differ
        differing = browser.run(
            read.replace('grey(0.02)', 'grey(0.5 * 16 / 64)').replace(
                'grey(0.98)', 'grey(0.5 + 0.5 * 16 / 64)').replace(', 8, 1, 1', ', 144, 1, 1')
        )  # fmt: skip
        assert abs(differing['left'] - differing['right']) > 20
        browser.run(act.format(action="entry.querySelector('.slider').value = 0;"
                                      "entry.querySelector('.slider').oninput()"))  # fmt: skip
        before = check(1)
        browser.run("document.querySelector('#entry2 .play').click()")
        after = browser.run(
            'new Promise(done => { const video = document.querySelector("#entry2 video");'
            'video.addEventListener("timeupdate",'
            ' () => video.currentTime > 0.2 && done(video.currentTime)); })'
        )
        assert after > before['time']
        playing = browser.run(read)
        assert abs(playing['left'] - playing['right']) < 4
        browser.run('document.querySelector("#entry2 video").pause()')
        links = 'Array.from(document.querySelectorAll("a")).map(a => a.getAttribute("href"))'
        for link in browser.run(links):
            assert browser.run(f'document.querySelector({json.dumps(link)}) !== null'), link
        assert browser.requests == [(folder / 'page.html').as_uri()]
        assert browser.problems == []


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(prefix='nowhere'), '2 of 2 videos are not there, such as'),
        (dict(runs=('first', 'foreign')), "have, such as 'elsewhere': is it of another annotation"),
        (dict(runs=('first', 'cut')), 'cut has other labels'),
        (dict(prefix='broken'), '2.mp4 is not a video FFmpeg can open'),
    ],
)
def test_wrong_input_is_one_sentence(folder, change, message, capsys):
    meta = {'split': 'test', 'background_frames': True}
    rows = Detections.from_rows(np.array([(0, 1, 0, 0.9, *BOX)]))
    save_detections(folder / 'foreign.npz', rows, ['elsewhere'], ['a', 'b'], meta)
    save_detections(folder / 'cut.npz', rows, ['same'], ['a'], meta)
    (folder / 'broken').mkdir(exist_ok=True)
    for number in range(3):
        (folder / 'broken' / f'{number}.mp4').write_bytes(b'none')
    (folder / 'page.html').unlink(missing_ok=True)
    assert compare(folder, '--html-videos', 2, **change) == 2
    error = capsys.readouterr().err
    assert error.startswith('compare_runs: ') and message in error and error.count('\n') == 1
    assert not (folder / 'page.html').exists()


@pytest.mark.parametrize(
    ('runs', 'message'),
    [
        (('first',), '--html shows two runs, not 1'),
        (('first', 'first'), 'runs need names of their own'),
    ],
)
def test_a_page_is_of_two_runs(folder, runs, message, capsys):
    with pytest.raises(SystemExit):
        compare(folder, runs=runs)
    assert message in capsys.readouterr().err
