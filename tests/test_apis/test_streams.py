"""A stream that this machine serves, frame by frame, over HTTP."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from mmstal_da.apis.inputs import find_clips
from mmstal_da.errors import VideoError
from tests.clips import numbered_frames
from tests.load_tool import load_tool
from tests.test_apis.test_inferencer import as_rows, case, inferencer  # noqa: F401

pytestmark = pytest.mark.slow

FRAMES = 60


def transport_stream() -> list[bytes]:
    """An MPEG transport stream, in one chunk per frame."""
    target = io.BytesIO()
    chunks = []
    with av.open(target, 'w', format='mpegts') as container:
        video = container.add_stream('mpeg2video', rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
        video.options = {'g': '4', 'bf': '0'}
        for image in [*numbered_frames(FRAMES), None]:
            frame = None if image is None else av.VideoFrame.from_ndarray(image, 'rgb24')
            for packet in video.encode(frame):
                container.mux(packet)
            chunks.append(target.getvalue()[sum(map(len, chunks)) :])
    return [*chunks, target.getvalue()[sum(map(len, chunks)) :]]


@pytest.fixture
def served():
    """URL of the stream, and the gate behind which its second half waits."""
    gate, chunks = threading.Event(), transport_stream()
    size = sum(map(len, chunks))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', size)
            self.end_headers()
            cut = self.path.startswith('/cut')
            for number, chunk in enumerate(chunks[: -8 if cut else None]):
                if number == len(chunks) // 2:
                    self.wfile.flush()
                    gate.wait(30)
                self.wfile.write(chunk)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/live.ts', gate
    gate.set()
    server.shutdown()
    server.server_close()


def test_results_come_while_it_runs(served, inferencer):  # noqa: F811
    url, gate = served
    (clip,) = find_clips(url)
    assert clip.is_stream
    seen, before = [], []
    stream = inferencer.stream(clip)
    # FFmpeg looks at some frames before it gives the first; then they come one by one
    timer = threading.Timer(3, gate.set)
    timer.start()
    for number, _, shape in stream:
        assert shape == (48, 64)
        seen.append(number)
        before.append(not gate.is_set())
    timer.cancel()
    assert seen == list(range(1, FRAMES + 1))
    assert 0 < sum(before) < FRAMES


def test_the_tool_writes_lines_while_it_runs(served, case, tmp_path):  # noqa: F811
    url, gate = served
    gate.set()
    tool = load_tool('infer')
    argv = [str(case[1]), url, '--out', str(tmp_path), '--device', 'cpu', '--score-thr', '0']
    assert tool.main(argv) == 0
    (lines,) = tmp_path.rglob('frames.jsonl')
    frames = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [frame['frame'] for frame in frames] == list(range(1, FRAMES + 1))
    result = json.loads((lines.parent / 'result.json').read_text())
    shown = {frame['frame']: frame for frame in frames if frame['boxes']}
    assert {frame['frame']: frame for frame in result['frames']} == shown


def test_a_stream_that_breaks_off_has_ended(served, inferencer):  # noqa: F811
    url, gate = served
    gate.set()
    (found,) = inferencer(url.replace('live', 'cut'), min_length=1)
    assert FRAMES - 12 < found.num_frames < FRAMES - 4
    assert found.dets.frame.max() == found.num_frames


def test_a_stream_that_is_not_there_is_named(inferencer):  # noqa: F811
    with pytest.raises(VideoError, match=r'http://127\.0\.0\.1:9/none is not a video'):
        list(inferencer('http://127.0.0.1:9/none'))


def test_a_stream_that_is_not_there_leaves_nothing(case, tmp_path):  # noqa: F811
    argv = [str(case[1]), 'http://127.0.0.1:9/none', '--out', str(tmp_path), '--device', 'cpu']
    assert load_tool('infer').main(argv) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['infer.json']


def test_frames_of_an_array_are_those_of_the_stream(served, inferencer):  # noqa: F811
    url, gate = served
    gate.set()
    (found,) = inferencer(url)
    frames = np.stack(list(find_clips(url)[0].frames()))
    (expected,) = inferencer(frames)
    np.testing.assert_allclose(as_rows(found.dets), as_rows(expected.dets), rtol=1e-4, atol=1e-4)
