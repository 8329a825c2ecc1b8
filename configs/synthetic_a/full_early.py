_base_ = './full.py'
model = dict(
    adaptation=dict(spatial=dict(tap='layer2', in_channels=128), temporal_image=dict(tap='Mixed_3c', in_channels=120))
)
