import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mmstal_da.datasets.annotation import load_annotation
from mmstal_da.datasets.synthetic import (
    ACTIONS,
    CONFUSABLE,
    PRESETS,
    ClipSettings,
    OutputExistsError,
    Shift,
    SyntheticConfig,
    generate,
    render_clip,
    sample_clip,
)
from mmstal_da.datasets.synthetic.camera import apply_affine, sample_camera
from mmstal_da.datasets.synthetic.clip import mask_to_box
from mmstal_da.datasets.synthetic.motions import VARIANTS, pose_at
from mmstal_da.datasets.synthetic.skeleton import Body, joint_positions
from mmstal_da.datasets.video_writer import write_video

SMALL = ClipSettings(width=64, height=48, min_frames=6, max_frames=8)
FULL_SHIFT = Shift(appearance=1, background=1, camera=1, tempo=1)
FEW = SyntheticConfig(
    source_train=2, source_test=1, target_train=2, target_test=1, clip=SMALL, shift=FULL_SHIFT
)
PHASES = np.linspace(0, 2 * np.pi, 60, endpoint=False)


def seed(*numbers: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(numbers)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def load_tool():
    path = Path(__file__).parents[2] / 'tools' / 'data' / 'make_synthetic.py'
    spec = importlib.util.spec_from_file_location('make_synthetic', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# motions


LOOPS = CONFUSABLE[:2]  # who climbs moves as a whole


def test_default_classes_hold_a_confusable_pair():
    for preset in PRESETS.values():
        assert any(set(pair) <= set(preset.classes) for pair in CONFUSABLE)
        assert len(preset.classes) >= 3


@pytest.mark.parametrize('pair', CONFUSABLE)
def test_confusable_actions_share_every_pose(pair):
    # with the same phases for start, one action's frames are the other's, in reverse order
    first, second = (ACTIONS[name] for name in pair)
    assert first.rate == second.rate
    assert first.stride == second.stride
    seconds = np.arange(60) / 60 / first.rate  # one cycle
    poses = [np.array([pose_at(action, 0.4, t) for t in seconds]) for action in (first, second)]
    np.testing.assert_allclose(poses[0][1:], poses[1][:0:-1], atol=1e-9)


@pytest.mark.parametrize('pair', LOOPS)
def test_loops_move_differently_everywhere(pair):
    # at equal pose, the velocities are opposite and nowhere zero: any two frames tell them apart
    first, second = (ACTIONS[name] for name in pair)
    step, spread = 1e-4, []
    for phase in PHASES + 0.01:  # beside the kinks of the knees
        here, there = (
            (np.array(pose_at(a, phase, step)) - pose_at(a, phase, 0)) / step
            for a in (first, second)
        )
        assert np.abs(here + there).max() < 0.05 * np.abs(here).max()
        spread.append(np.abs(here).max())
    assert min(spread) > 0.2 * max(spread)


@pytest.mark.parametrize('pair', LOOPS)
def test_poses_of_a_loop_determine_the_phase(pair):
    # a loop, not a back-and-forth path: else forwards and backwards would be one motion
    poses = np.array([ACTIONS[pair[0]].cycle(phase) for phase in PHASES])
    distance = np.abs(poses[:, None] - poses).max(-1)
    gap = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    assert distance[(gap > 2) & (gap < 58)].min() > 2  # degrees


def test_who_climbs_passes_the_places_of_who_descends_in_reverse():
    heights = []
    for name in ('climb', 'descend'):
        clip = sample_clip(name, seed(3), ClipSettings(second_actor=0, distractor=0), Shift())
        _, ((_, boxes),) = render_clip(clip)
        heights.append(boxes[:, [1, 3]].mean(1))  # y points down
    up, down = heights
    rises = [np.polyfit(np.arange(len(y)), y, 1)[0] for y in heights]  # pixels per frame
    assert rises[0] < -0.5 and rises[1] > 0.5
    np.testing.assert_allclose(np.sort(up)[::6], np.sort(down)[::6], atol=4)


@pytest.mark.parametrize('name', ACTIONS)
def test_cycles_close_and_stay_on_the_ground(name):
    cycle = ACTIONS[name].cycle
    np.testing.assert_allclose(cycle(0.3), cycle(0.3 + 2 * np.pi), atol=1e-9)
    for phase in PHASES:
        pose, body = cycle(phase), Body()
        joints = joint_positions(pose, body)
        lowest = max(y for _, y in joints.values())
        assert -0.2 < lowest < 0
        for a, b, length in (
            ('neck', 'pelvis', body.torso),
            ('elbow_near', 'hand_near', body.forearm),
            ('knee_far', 'pelvis', body.thigh),
        ):
            assert np.linalg.norm(joints[a] - joints[b]) == pytest.approx(length)


def test_angles_turn_the_documented_way():
    upright = (
        ACTIONS['wave']
        .cycle(0)
        ._replace(lean=90, shoulder_near=90, elbow_near=90, hip_far=90, knee_far=90)
    )
    joints, body = joint_positions(upright, Body()), Body()
    lengths = [('neck', 'pelvis', (body.torso, 0)), ('elbow_near', 'neck', (body.upper_arm, 0)),
               ('hand_near', 'elbow_near', (0, -body.forearm)),
               ('knee_far', 'pelvis', (body.thigh, 0)),
               ('ankle_far', 'knee_far', (0, body.shin))]  # fmt: skip
    for end, start, expected in lengths:
        np.testing.assert_allclose(joints[end] - joints[start], expected, atol=1e-12)


def test_variants_differ_from_their_class():
    for name, variant in VARIANTS.items():
        poses = [np.array([a.cycle(p) for p in PHASES]) for a in (ACTIONS[name], variant)]
        assert np.abs(poses[0] - poses[1]).max() > 30


# domains


@pytest.mark.parametrize('label', ['push', 'wave'])
def test_zero_strength_is_the_source_and_each_part_changes_its_own(label):
    source = sample_clip(label, seed(5), SMALL, Shift())
    frames, tubes = render_clip(source)
    again, tubes_again = render_clip(sample_clip(label, seed(5), SMALL, Shift(0, 0, 0, 0, 0)))
    assert np.array_equal(frames, again)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(tubes, tubes_again, strict=True))
    for part in ('appearance', 'background', 'camera', 'tempo'):
        shifted = sample_clip(label, seed(5), SMALL, replace(Shift(), **{part: 1.0}))
        changed = {
            'appearance': (shifted.actors[0].outfit, shifted.look)
            != (source.actors[0].outfit, source.look),
            'background': not np.array_equal(shifted.background, source.background),
            'camera': not np.array_equal(shifted.camera, source.camera),
            'tempo': shifted.actors[0].tempo != source.actors[0].tempo,
        }
        assert changed == {name: name == part for name in changed}
        assert shifted.num_frames == source.num_frames
        assert shifted.actors[0].start == source.actors[0].start


def test_strength_moves_the_ranges():
    def tempos(strength):
        return [
            sample_clip('push', seed(i), SMALL, Shift(tempo=strength)).actors[0].tempo
            for i in range(20)
        ]

    slow, middle, fast = tempos(0), tempos(0.5), tempos(1)
    assert 0.85 <= min(slow) <= max(slow) <= 1.15
    assert 1.3 <= min(fast) <= max(fast) <= 1.8
    np.testing.assert_allclose(middle, (np.array(slow) + fast) / 2)


def test_camera_is_static_at_zero_and_bounded_at_one():
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    for index in range(5):
        rng = np.random.default_rng(index)
        assert np.allclose(sample_camera(rng, 0, 30, 128, 96), identity)
        path = sample_camera(np.random.default_rng(index), 1, 30, 128, 96)
        zoom = np.hypot(path[:, 0, 0], path[:, 0, 1])
        assert 0.85 <= zoom.min() < zoom.max() <= 1.2
        centres = np.stack([apply_affine(m, np.array([[63.5, 47.5]]))[0] for m in path])
        assert np.abs(centres - (63.5, 47.5)).max() < 0.15 * 128
        assert np.ptp(centres, axis=0).min() > 0.5


def test_semantic_shift_performs_the_variant():
    assert sample_clip('wave', seed(1), SMALL, Shift()).actors[0].action is ACTIONS['wave']
    shifted = sample_clip('wave', seed(1), SMALL, Shift(semantic=1)).actors[0]
    assert shifted.action is VARIANTS['wave']
    assert sample_clip('push', seed(1), SMALL, Shift(semantic=1)).actors[0].action.direction == 1


def test_out_of_range_parameters_are_refused():
    with pytest.raises(ValueError, match='shift in camera'):
        Shift(camera=1.5)
    with pytest.raises(ValueError, match='width'):
        ClipSettings(width=65)
    with pytest.raises(ValueError, match='min_frames'):
        ClipSettings(min_frames=9, max_frames=8)
    with pytest.raises(ValueError, match='dance'):
        SyntheticConfig(classes=('push', 'dance'))


# clips


@pytest.mark.parametrize('shift', [Shift(), FULL_SHIFT], ids=['source', 'target'])
@pytest.mark.parametrize('label', ACTIONS)
def test_every_frame_has_a_box_within_the_frame(label, shift):
    settings = replace(SMALL, min_frames=24, max_frames=24, second_actor=0.5)
    clip = sample_clip(label, seed(3), settings, shift)
    frames, tubes = render_clip(clip)
    assert frames.shape == (24, 48, 64, 3)
    assert len(tubes) == len(clip.actors)
    for numbers, boxes in tubes:
        assert numbers.tolist() == list(range(1, 25))
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] < (64, 48)).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= (4, 8)).all()
        assert np.abs(np.diff(boxes, axis=0)).max() < 16  # nothing jumps


@pytest.mark.parametrize('label', ['push', 'squat', 'walk'])
def test_boxes_match_the_pixels_of_the_decoded_video(label, tmp_path):
    settings = ClipSettings(second_actor=0, distractor=0, min_frames=24, max_frames=24)
    clip = sample_clip(label, seed(7), settings, Shift(camera=1))
    # a yellow actor without shadow or grain before a dark scene, and the same scene without it
    actor = clip.actors[0]
    bright = replace(
        actor.outfit, **dict.fromkeys(('shirt', 'trousers', 'skin', 'hair', 'shoes'), (255,) * 3)
    )
    look = replace(clip.look, grain=0.0, contrast=1.0, gains=(1.0, 1.0, 1.0))
    clip = replace(
        clip, actors=(replace(actor, outfit=bright),), look=look, shadow=0.0,
        background=np.zeros_like(clip.background),
    )  # fmt: skip
    frames, [(numbers, boxes)] = render_clip(clip)
    write_video(tmp_path / 'clip.mp4', frames, fps=25)
    with av.open(str(tmp_path / 'clip.mp4')) as container:
        decoded = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(decoded) == 24 == len(numbers)
    errors = []
    for image, box in zip(decoded, boxes, strict=True):
        # the outline has 0.45 of the fill's brightness, half of it at half coverage
        rows, columns = np.nonzero(image.mean(-1) > 0.45 * 255 / 2)
        found = columns.min(), rows.min(), columns.max(), rows.max()
        errors.append(np.abs(np.subtract(found, box)))
    assert np.max(errors) <= 1  # compression blurs edges by at most a pixel
    assert np.mean(errors) < 0.2


def test_mask_to_box_has_inclusive_ends():
    mask = np.zeros((6, 8), bool)
    assert mask_to_box(mask) is None
    mask[2:5, 3] = mask[4, 6] = True
    assert mask_to_box(mask) == (3, 2, 6, 4)


def test_untrimmed_clips_have_background_frames_around_the_action():
    settings = replace(SMALL, untrimmed=True, min_frames=10, max_frames=10, second_actor=0.0)
    shown = set()
    for index in range(8):
        clip = sample_clip('push', seed(index), settings, Shift())
        frames, [(numbers, _)] = render_clip(clip)
        start, end = clip.actors[0].active
        assert numbers.tolist() == list(range(start + 1, end + 1))
        assert 8 <= start <= 24
        assert 8 <= len(frames) - end <= 24
        shown.add(clip.actors[0].present[0] == 0)
    assert shown == {True, False}  # idling in some, absent in others


def test_clip_does_not_depend_on_earlier_ones():
    first = render_clip(sample_clip('kick', seed(2), SMALL, FULL_SHIFT))[0]
    render_clip(sample_clip('bow', seed(3), SMALL, FULL_SHIFT))
    assert np.array_equal(first, render_clip(sample_clip('kick', seed(2), SMALL, FULL_SHIFT))[0])
    assert not np.array_equal(
        first[:6], render_clip(sample_clip('kick', seed(4), SMALL, FULL_SHIFT))[0][:6]
    )


# files


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
    tool = load_tool()
    out = tmp_path / 'pair'
    args = ['--out', str(out), '--preset', 'tiny', '--classes', 'walk', 'walk_backward']
    args += ['--source-train', '1', '--source-test', '0', '--target-train', '1']
    args += ['--target-test', '0', '--min-frames', '4', '--max-frames', '4', '--untrimmed']
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
    assert tool.main([*args, '--shift-tempo', '0']) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert tool.main([*args, '--shift-tempo', '2']) == 2
    assert 'shift in tempo' in capsys.readouterr().err
