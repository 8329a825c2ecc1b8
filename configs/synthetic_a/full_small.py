_base_ = './full.py'
model = dict(
    adaptation=dict(spatial=dict(channels=(64,)), temporal_image=dict(channels=64), temporal_instance=dict(channels=64))
)
