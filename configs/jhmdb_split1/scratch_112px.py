# The same networks from random weights; every layer trains.
_base_ = ['../_base_/models/i3d_rpn_r50_scratch.py', './_112px.py']
model = _base_.small
optim_wrapper = dict(optimizer=dict(lr=5e-4))
