"""What is wrong with a user's input. Each message names the place and says what to do."""


class UsageError(Exception):
    """The command line asks for what cannot be done; the message says what to do instead."""


class ConfigError(ValueError):
    """A config whose data cannot be right; the message names the key and the remedy."""


class AnnotationError(ValueError):
    """An annotation file says something that cannot be right."""


class VideoError(RuntimeError):
    """A video that is missing, unreadable, or not as its annotation says."""


class ProposalError(ValueError):
    """A file of proposals that is missing, unreadable, or does not belong to the data."""
