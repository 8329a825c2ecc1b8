"""Tubes on a video: each on its frames, its label on no other label."""

import numpy as np

from mmstal_da.evaluation.functional import Detections, get_protocol, tubes_of
from mmstal_da.video.reader import read_frames
from mmstal_da.visualization.drawing import class_colour, draw_chips
from mmstal_da.visualization.tube_video import write_tube_video

CLASSES = ['run', 'jump']


def test_a_tube_is_drawn_on_its_frames_alone(tmp_path):
    rows = [[0, frame, 1, 0.9, 20, 30, 50, 80] for frame in range(3, 9)]
    tubes = tubes_of(Detections.from_rows(np.array(rows)), get_protocol('act', min_length=2))
    frames = (np.full((96, 128, 3), 90, np.uint8) for _ in range(10))  # taken one by one
    path = tmp_path / 'v.mp4'
    write_tube_video(path, frames, tubes, CLASSES, 25.0)
    for number in range(1, 11):
        (image,) = read_frames(path, [number])
        scale = image.shape[0] / 96
        edge = image[round(55 * scale), round(20 * scale) - 4 : round(20 * scale) + 5].astype(int)
        drawn = np.abs(edge - np.array(class_colour(CLASSES, 'jump'))).sum(1).min() < 120
        assert drawn == (3 <= number <= 8), number


def test_labels_do_not_cover_each_other():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    image = np.zeros((240, 320, 3), np.uint8)
    box = (60, 100, 200, 200)
    alone = [
        (draw_chips(image, [('label', box, colour, (0, 0, 0), 'above')]) == colour).all(2).sum()
        for colour in colours
    ]
    together = draw_chips(image, [('label', box, colour, (0, 0, 0), 'above') for colour in colours])
    assert [int((together == colour).all(2).sum()) for colour in colours] == alone
