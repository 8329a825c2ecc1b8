_base_ = './mt.py'
model = dict(teacher=dict(mix=0.5))
