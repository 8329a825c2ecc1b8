from .clip_key_frame_preprocessor import ClipKeyFramePreprocessor

__all__ = ['ClipKeyFramePreprocessor']
