"""Use of trained detectors: what a checkpoint finds in videos."""
