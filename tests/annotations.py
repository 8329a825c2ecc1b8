"""Random annotations for round trips through other formats."""

import numpy as np
from hypothesis import strategies as st

from mmstal_da.tubes.annotation import Annotation, Tube, Video

CLASSES = ['run', 'jump', 'wave']
NAMES = ['run/a', 'jump/b c', 'wave/d@+!_0', 'e']
coordinates = st.one_of(
    st.floats(-1000, 4000, width=32),
    st.integers(-2, 4000).map(float),
    st.sampled_from([0.0, -0.0, 1e-45, 1e-38, 0.1, 319.0, -1.0, 1 / 3]),
)


@st.composite
def tubes(draw, num_frames: int) -> Tube:
    """A tube with gaps; its boxes are in order, and may leave the frame."""
    frames = sorted(draw(st.sets(st.integers(1, num_frames), min_size=1, max_size=5)))
    boxes = []
    for _ in frames:
        x1, y1, x2, y2 = (np.float32(draw(coordinates)) for _ in range(4))
        boxes.append([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)])
    label = draw(st.sampled_from(CLASSES))
    return Tube(label, np.array(frames), np.array(boxes, np.float32))


@st.composite
def annotations(draw, sized: bool = False) -> Annotation:
    """An annotation of up to four videos; with ``sized`` every one has a width and height."""
    annotation = Annotation(draw(st.sampled_from(['jhmdb', 'toy'])), CLASSES)
    for number, name in enumerate(draw(st.permutations(NAMES))[: draw(st.integers(1, 4))]):
        size = draw(st.tuples(st.integers(1, 2000), st.integers(1, 2000)))
        images = draw(st.booleans())
        annotation.videos[name] = Video(
            f'somewhere/{number}' + ('' if images else '.avi'),
            draw(st.integers(1, 30)),
            *(size if sized or draw(st.booleans()) else (None, None)),
            '{:05d}.png' if images else None,
            draw(st.sampled_from([None, 25, 29.97])),
        )
        found = draw(st.lists(tubes(annotation.videos[name].num_frames), max_size=4))
        if found:
            annotation.tubes[name] = found
    names = list(annotation.videos)
    for split in draw(st.sets(st.sampled_from(['train', 'test', 'train2', 'odd one']))):
        annotation.splits[split] = draw(st.permutations(names))[: draw(st.integers(0, 4))]
    annotation.splits['all'] = names
    return annotation
