"""Frame-mAP, video-mAP and tube linking.

``functional`` works on NumPy arrays and loads no torch; ``metrics`` holds the MMEngine metric.
"""
