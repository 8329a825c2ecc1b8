_base_ = './mt.py'
model = dict(teacher=dict(mask=0.5, mask_block=16))
