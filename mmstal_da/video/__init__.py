"""Frames of video files and folders of images, read and written. Imports no torch."""
