"""One clip: its contents (:func:`sample_clip`) and its frames (:func:`render_clip`)."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from .actor import Layer, draw_actor, place_joints
from .appearance import (
    Colour,
    Look,
    Outfit,
    apply_look,
    camouflage,
    sample_look,
    sample_outfit,
    shade,
)
from .background import sample_background
from .camera import apply_affine, sample_camera
from .domains import Shift, draw
from .motions import ACTIONS, IDLE, VARIANTS, Action, blend_poses, pose_at
from .skeleton import Body, Pose, joint_positions, sample_body

Box = tuple[int, int, int, int]
"""``x1 y1 x2 y2``, ends inclusive."""

_Track = tuple[list[int], list[Box]]  # frames of a tube, and its boxes

FPS = 25
COVERED = 0.5
"""A pixel belongs to an actor if at least this share of it is covered."""
_CLIMB = 0.28  # room for a climbing actor, in frame heights
_BLEND = 4  # frames of the transition between idling and the action


@dataclass(frozen=True)
class ClipSettings:
    """What all clips of a set have in common.

    Attributes:
        width: Frame width in pixels, even.
        height: Frame height in pixels, even.
        min_frames: Least number of frames of the action.
        max_frames: Largest number of frames of the action.
        second_actor: Probability of a second actor, who performs the same action.
        distractor: Probability of a ball that bounces through the scene.
        untrimmed: Add frames without the action before and after it: the actors are idle or absent
            (:class:`~.config.SyntheticConfig` decides it for each domain).
    """

    width: int = 128
    height: int = 96
    min_frames: int = 32
    max_frames: int = 40
    second_actor: float = 0.2
    distractor: float = 0.3
    untrimmed: bool = False

    def __post_init__(self) -> None:
        for name in ('width', 'height'):
            value = getattr(self, name)
            if value < 32 or value % 2:
                raise ValueError(f'{name} is an even number of at least 32 pixels, not {value}')
        if not 1 <= self.min_frames <= self.max_frames:
            raise ValueError(
                f'1 <= min_frames <= max_frames, not {self.min_frames} and {self.max_frames}'
            )
        for name in ('second_actor', 'distractor'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is a probability, not {getattr(self, name)}')


@dataclass(frozen=True)
class Actor:
    """One actor of a clip.

    Attributes:
        ground: Scene pixels of the point between the feet in the middle of the action.
        height: Body height in scene pixels.
        facing: +1 right, -1 left.
        action: What the actor performs.
        start: Phase of the action at the first frame, in radians.
        tempo: Factor on the action's rate.
        style: Degrees added to every angle of every pose.
        present: First and one past the last 0-based frame in which the actor is in the scene.
        active: The same of the frames in which the actor performs the action.
        stride: Scene pixels the actor advances per cycle run forwards.
        rise: Scene pixels the actor goes up per cycle run forwards.
    """

    ground: tuple[float, float]
    height: float
    facing: int
    body: Body
    outfit: Outfit
    action: Action
    start: float
    tempo: float
    style: Pose
    present: tuple[int, int]
    active: tuple[int, int]
    stride: float
    rise: float


@dataclass(frozen=True)
class Ball:
    """A moving object that is not an actor."""

    radius: float
    colour: Colour
    start: tuple[float, float]
    speed: float
    bounce: float


@dataclass(frozen=True)
class Clip:
    """The contents of a clip; :func:`render_clip` draws it without any randomness."""

    label: str
    num_frames: int
    width: int
    height: int
    actors: tuple[Actor, ...]
    ball: Ball | None
    background: np.ndarray = field(repr=False)
    margin: int
    camera: np.ndarray = field(repr=False)
    look: Look
    grain: np.ndarray = field(repr=False)
    shadow: float = 0.28


def sample_clip(
    label: str, seed: np.random.SeedSequence, settings: ClipSettings, shift: Shift
) -> Clip:
    """Draw a clip at random.

    Every part of the clip has its own generator, and how much each draws does not depend on
    ``shift``. So clips of one seed differ between two shifts in the shifted parts only.

    Args:
        label: Class name, a key of :data:`~.motions.ACTIONS`.
        seed: Seed of this clip. Other seeds are spawned from it, so pass a fresh one.
        settings: What all clips have in common.
        shift: The clip's shift from the source domain.
    """
    scene, motion, outfits, looks, backdrop, moves = (
        np.random.default_rng(child) for child in seed.spawn(6)
    )
    action_frames = int(scene.integers(settings.min_frames, settings.max_frames + 1))
    before, after = (int(value) for value in scene.integers(8, 25, 2))
    if not settings.untrimmed:
        before = after = 0
    num_frames = before + action_frames + after
    count = 2 if scene.random() < settings.second_actor else 1
    performs_variant = motion.random() < shift.semantic and label in VARIANTS
    action = VARIANTS[label] if performs_variant else ACTIONS[label]
    actors = []
    for index in range(count):
        active = (before, before + action_frames)
        body_height = settings.height * draw(scene, (0.56, 0.72), (0.28, 0.36), shift.size)
        ground = _place(scene, settings, index, count)
        if action.rise:  # the middle of the climb is above the floor
            ground = (ground[0], ground[1] - 0.45 * _CLIMB * settings.height)
        tempo = draw(motion, (0.85, 1.15), (1.3, 1.8), shift.tempo)
        cycles = action.rate * tempo * action_frames / FPS
        room = settings.width / count - 0.5 * body_height
        actors.append(
            Actor(
                ground=ground,
                height=body_height,
                facing=int(motion.choice((-1, 1))),
                body=sample_body(motion),
                outfit=sample_outfit(outfits, shift.appearance),
                action=action,
                start=float(motion.uniform(0, 2 * np.pi)),
                tempo=tempo,
                style=Pose._make([*motion.normal(0, 3, 9), 0]),
                present=_presence(motion, active, num_frames),
                active=active,
                stride=min(action.stride * body_height, max(0.0, room) / cycles),
                rise=min(action.rise * body_height, _CLIMB * settings.height / cycles),
            )
        )
    width, height = settings.width, settings.height
    margin = int(0.35 * max(width, height))
    background = sample_background(backdrop, shift.background, width, height, margin)
    for index, actor in enumerate(actors):
        behind = _colour_behind(actor, background, margin)
        outfit = camouflage(actor.outfit, behind, shift.camouflage)
        actors[index] = replace(actor, outfit=outfit)
    actors.sort(key=lambda actor: actor.ground[1])  # the nearer one is lower, and in front
    return Clip(
        label=label,
        num_frames=num_frames,
        width=width,
        height=height,
        actors=tuple(actors),
        ball=_sample_ball(scene, settings),
        background=background,
        margin=margin,
        camera=sample_camera(moves, shift.camera, num_frames, width, height),
        look=sample_look(looks, shift.appearance),
        grain=looks.standard_normal((height + 16, width + 16, 1), dtype=np.float32),
    )


def render_clip(clip: Clip) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Draw a clip.

    Returns:
        (T, H, W, 3) uint8 RGB frames, and a tube per actor. A tube has (n,) int64 1-based frames in
        which the actor performs the action and is visible, and (n, 4) int64 boxes
        ``x1 y1 x2 y2``, the tightest around the actor's pixels, ends inclusive.
    """
    frames = np.empty((clip.num_frames, clip.height, clip.width, 3), np.uint8)
    tubes: list[_Track] = [([], []) for _ in clip.actors]
    backdrop, backdrop_camera = np.empty(0), np.empty(0)  # equal to no camera
    for index, camera in enumerate(clip.camera):
        if not np.array_equal(camera, backdrop_camera):
            backdrop, backdrop_camera = _view(clip, camera), camera
        image = backdrop
        if clip.ball is not None:
            image, _ = _compose(image, _ball_layer(clip, clip.ball, index, camera))
        for actor, (numbers, boxes) in zip(clip.actors, tubes, strict=True):
            if not actor.present[0] <= index < actor.present[1]:
                continue
            image = image * (1 - clip.shadow * _shadow(clip, actor, index, camera))
            image, coverage = _compose(image, _actor_layer(clip, actor, index, camera))
            box = mask_to_box(coverage[..., 0] >= COVERED)
            if box is not None and actor.active[0] <= index < actor.active[1]:
                numbers.append(index + 1)
                boxes.append(box)
        offset_y, offset_x = (index * 5) % 16, (index * 11) % 16
        grain = clip.grain[offset_y : offset_y + clip.height, offset_x : offset_x + clip.width]
        frames[index] = apply_look(image, clip.look, grain)
    return frames, _as_arrays(tubes)


def trace_clip(clip: Clip) -> list[tuple[np.ndarray, np.ndarray]]:
    """The tubes of :func:`render_clip` without its frames, in a quarter of the time."""
    tubes: list[_Track] = [([], []) for _ in clip.actors]
    for actor, (numbers, boxes) in zip(clip.actors, tubes, strict=True):
        first = max(actor.present[0], actor.active[0])
        for index in range(first, min(actor.present[1], actor.active[1])):
            _, coverage = _actor_layer(clip, actor, index, clip.camera[index]).flatten()
            box = mask_to_box(coverage[..., 0] >= COVERED)
            if box is not None:
                numbers.append(index + 1)
                boxes.append(box)
    return _as_arrays(tubes)


def _as_arrays(tubes: list[_Track]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(n,) int64 frames and (n, 4) int64 boxes of every tube."""
    return [
        (np.array(numbers, np.int64), np.array(boxes, np.int64).reshape(-1, 4))
        for numbers, boxes in tubes
    ]


def mask_to_box(mask: np.ndarray) -> Box | None:
    """The tightest box around a mask, ``x1 y1 x2 y2`` with inclusive ends; None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def actor_pose(actor: Actor, index: int) -> Pose:
    """The pose of an actor in a 0-based frame."""
    start, end = actor.active
    seconds = index / FPS
    weight = 1 + min(index - start, end - 1 - index, 0) / (_BLEND + 1)  # 1 while active
    if weight <= 0:
        pose = pose_at(IDLE, actor.start, seconds)
    else:
        pose = pose_at(actor.action, actor.start, seconds, actor.tempo)
        if weight < 1:
            pose = blend_poses(pose_at(IDLE, actor.start, seconds), pose, weight)
    return Pose(*(angle + extra for angle, extra in zip(pose, actor.style, strict=True)))


def _place(
    rng: np.random.Generator, settings: ClipSettings, index: int, count: int
) -> tuple[float, float]:
    """An actor's position: in its own vertical slice of the frame, on the floor."""
    low, high = (0.28, 0.72) if count == 1 else (0.24 + 0.46 * index, 0.30 + 0.46 * index)
    return (
        float(settings.width * rng.uniform(low, high)),
        float(settings.height * rng.uniform(0.82, 0.93)),
    )


def _colour_behind(actor: Actor, background: np.ndarray, margin: int) -> Colour:
    """Mean colour of the scene where an actor stands in the middle of its action."""
    x, y = (int(value) + margin for value in actor.ground)
    tall, wide = max(int(actor.height), 1), max(int(0.2 * actor.height), 1)
    area = background[max(y - tall, 0) : max(y, 1), max(x - wide, 0) : x + wide]
    red, green, blue = area.reshape(-1, 3).mean(0).tolist()
    return red, green, blue


def _presence(
    rng: np.random.Generator, active: tuple[int, int], num_frames: int
) -> tuple[int, int]:
    """Whether an actor is already present before its action, and still present after it."""
    idles_before, idles_after = rng.random(2) < 0.65
    return (0 if idles_before else active[0], num_frames if idles_after else active[1])


def _sample_ball(rng: np.random.Generator, settings: ClipSettings) -> Ball | None:
    radius = settings.height * rng.uniform(0.035, 0.07)
    red, green, blue = rng.uniform(40, 240, 3).tolist()
    direction = rng.choice((-1, 1))
    start_x = settings.width * (0.5 - 0.6 * direction)
    start = (float(start_x), float(settings.height * rng.uniform(0.75, 0.95)))
    speed = float(direction * settings.width * rng.uniform(0.5, 0.9))  # pixels per second
    bounce = float(settings.height * rng.uniform(0.05, 0.3))
    ball = Ball(radius, (red, green, blue), start, speed, bounce)
    return ball if rng.random() < settings.distractor else None


def _view(clip: Clip, camera: np.ndarray) -> np.ndarray:
    """The background as the camera sees it, (H, W, 3) float32."""
    matrix = camera.copy()
    matrix[:, 2] = apply_affine(camera, np.array([[-clip.margin, -clip.margin]], float))[0]
    return cv2.warpAffine(
        clip.background,
        matrix,
        (clip.width, clip.height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def _compose(image: np.ndarray, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Put a layer on an image; returns the new image and the layer's (H, W, 1) coverage."""
    paint, coverage = layer.flatten()
    return image * (1 - coverage) + paint, coverage


def _ground(actor: Actor, index: int) -> tuple[float, float]:
    """Scene pixels of the point between an actor's feet in a 0-based frame."""
    middle = (actor.active[0] + actor.active[1] - 1) / 2
    inside = min(max(index, actor.active[0]), actor.active[1] - 1)
    cycles = actor.action.direction * actor.action.rate * actor.tempo * (inside - middle) / FPS
    x = actor.ground[0] + actor.facing * actor.stride * cycles
    return x, actor.ground[1] - actor.rise * cycles


def _zoom(camera: np.ndarray) -> float:
    return float(np.hypot(camera[0, 0], camera[0, 1]))


def _actor_layer(clip: Clip, actor: Actor, index: int, camera: np.ndarray) -> Layer:
    layer = Layer(clip.width, clip.height)
    local = joint_positions(actor_pose(actor, index), actor.body)
    joints = place_joints(local, _ground(actor, index), actor.height, actor.facing, camera)
    draw_actor(layer, joints, actor.outfit, actor.height * _zoom(camera), actor.facing)
    return layer


def _ball_layer(clip: Clip, ball: Ball, index: int, camera: np.ndarray) -> Layer:
    seconds = index / FPS
    height = ball.bounce * abs(np.sin(2.2 * np.pi * seconds)) + ball.radius
    centre = (ball.start[0] + ball.speed * seconds, ball.start[1] - height)
    centre = apply_affine(camera, np.array([centre]))[0]
    radius = ball.radius * _zoom(camera)
    layer = Layer(clip.width, clip.height)
    layer.disc(centre, radius, shade(ball.colour, 0.45))
    layer.disc(centre, 0.85 * radius, ball.colour)
    return layer


def _shadow(clip: Clip, actor: Actor, index: int, camera: np.ndarray) -> np.ndarray:
    """A soft ellipse under the actor's feet, (H, W, 1) float32 in [0, 1]."""
    centre = apply_affine(camera, np.array([_ground(actor, index)]))[0]
    unit = actor.height * _zoom(camera)
    y, x = np.ogrid[: clip.height, : clip.width]
    distance = ((x - centre[0]) / (0.26 * unit)) ** 2 + ((y - centre[1]) / (0.06 * unit)) ** 2
    return np.exp(-distance.astype(np.float32))[..., None]
