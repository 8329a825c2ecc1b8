"""Errors in a user's input. Each message names the place and says what to do."""


class UsageError(Exception):
    """The command line asks for something impossible; the message says what to do instead."""


class ConfigError(ValueError):
    """A config's data are wrong; the message names the key and the remedy."""


class AnnotationError(ValueError):
    """An annotation file is wrong."""


class VideoError(RuntimeError):
    """A video is missing, unreadable, or does not agree with its annotation."""


class ProposalError(ValueError):
    """A file of proposals is missing, unreadable, or does not belong to the data."""


class CheckpointError(UsageError):
    """A checkpoint is not what it is taken for; the message names the file."""


class OutputError(RuntimeError):
    """A model's outputs are no numbers; the message names the clips."""


class TrainingError(RuntimeError):
    """A training cannot go on; the message says where it stopped and what is left of it."""
