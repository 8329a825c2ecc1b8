_base_ = './mt.py'
model = dict(teacher=dict(source_free=True, burn_in=600))
