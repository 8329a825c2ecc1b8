import numpy as np
import pytest

from mmstal_da.visualization import Overlay, contact_sheet, draw_overlays, render_frames, scale_box
from mmstal_da.visualization.drawing import CLASS_COLOURS, GROUND_TRUTH, class_colour, text_bar

CLASSES = ['push', 'pull']


def extent(image, colour):
    """First and last column and row of a colour."""
    rows, columns = np.nonzero((image == colour).all(-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


@pytest.mark.parametrize('factor', [1, 2, 3.5])
def test_scaled_boxes_cover_the_pixels_their_pixels_became(factor):
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:25] = True  # box 20 10 24 29
    size = (round(40 * factor), round(60 * factor))
    rows = (np.arange(size[0]) / factor).astype(int)
    columns = (np.arange(size[1]) / factor).astype(int)
    large = mask[np.ix_(rows, columns)]
    y, x = np.nonzero(large)
    box = scale_box((20, 10, 24, 29), (40, 60), size)
    np.testing.assert_allclose(box, (x.min(), y.min(), x.max(), y.max()), atol=0.51)


def test_scaling_may_differ_by_axis():
    assert scale_box((0, 0, 339, 255), (256, 340), (240, 320)) == (0, 0, 319, 239)


def test_predictions_are_solid_and_ground_truth_is_dashed():
    image = np.full((240, 320, 3), 90, np.uint8)
    prediction, truth = Overlay((25, 25, 74, 99), 'pull', 0.8), Overlay((100, 30, 139, 89), 'push')
    drawn = draw_overlays(image, [prediction], [truth], CLASSES, (120, 160), gt_labels=False)
    assert (image == 90).all()  # the input is left alone
    colour = CLASS_COLOURS[1]
    edge = (drawn[60:190, 49:53] == colour).all(-1).any(1)  # left edge at x = 2 * 25
    assert edge.all()
    x1, y1, x2, y2 = extent(drawn, GROUND_TRUTH)
    assert np.abs(np.subtract((x1, y1, x2, y2), (200, 60, 279, 179))).max() <= 2
    dashes = (drawn[60:180, 199:203] == GROUND_TRUTH).all(-1).any(1)
    assert 0.3 < dashes.mean() < 0.8


def test_labels_stay_within_the_image():
    image = np.full((240, 320, 3), 90, np.uint8)
    corners = [(0, 0, 20, 20), (139, 0, 159, 20), (0, 99, 20, 119), (139, 99, 159, 119)]
    for box in corners:
        drawn = draw_overlays(image, [Overlay(box, 'push', 0.95)], [], CLASSES, (120, 160))
        # the ground of the label is whole: as wide as the text at every place
        ground = (drawn == CLASS_COLOURS[0]).all(-1)
        assert ground.sum(1).max() > 55
        truth = draw_overlays(image, [], [Overlay(box, 'push')], CLASSES, (120, 160))
        assert (truth == (20, 70, 20)).all(-1).sum() > 200


def test_class_colours_are_stable_and_not_the_ground_truths():
    assert class_colour(CLASSES, 'pull') == CLASS_COLOURS[1]
    assert class_colour(CLASSES, 'unknown') == (200, 200, 200)
    assert GROUND_TRUTH not in CLASS_COLOURS
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS)


def test_rendered_frames_are_enlarged_evenly_and_titled():
    frames = [np.full((35, 51, 3), 60, np.uint8)] * 2
    predictions = {2: [Overlay((10, 5, 30, 25), 'push', 0.9)]}
    first, second = render_frames(frames, [1, 2], predictions, {}, CLASSES, (35, 51), 'clip', 101)
    assert first.shape == second.shape
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    assert first.shape[0] - text_bar(10, '').shape[0] == 100
    assert not (first == CLASS_COLOURS[0]).all(-1).any()
    x1, _, x2, y2 = extent(second, CLASS_COLOURS[0])
    scale = 100 / 35
    assert x1 == pytest.approx(10 * scale, abs=2)
    assert x2 == pytest.approx(31 * scale - 1, abs=3)
    assert y2 == pytest.approx(26 * scale - 1, abs=2)
    plain = next(iter(render_frames(frames, [1, 2], {}, {}, CLASSES, (35, 51), '', 20)))
    assert plain.shape == (34, 50, 3)


def test_text_bar_cuts_long_titles_short():
    bar = text_bar(200, 'x' * 300, [('prediction', (255, 0, 0), False)])
    assert bar.shape[1] == 200
    assert (bar[:, 190:] < 40).all()  # the legend ends before the border


def test_contact_sheet_places_and_checks():
    images = [np.full((10, 20, 3), value, np.uint8) for value in (10, 20, 30)]
    page = contact_sheet(images, columns=2, gap=4)
    assert page.shape == (4 + 2 * 14, 4 + 2 * 24, 3)
    assert (page[4:14, 4:24] == 10).all()
    assert (page[4:14, 28:48] == 20).all()
    assert (page[18:28, 4:24] == 30).all()
    assert (page[18:28, 28:48] == 255).all()
    titled = contact_sheet(images, 2, captions=['a', 'b', 'c'], row_titles=['r', 's'])
    assert titled.shape[0] > page.shape[0]
    with pytest.raises(ValueError, match='one size'):
        contact_sheet([images[0], images[1][:5]], 2)
    with pytest.raises(ValueError, match='captions'):
        contact_sheet(images, 2, captions=['a'])
