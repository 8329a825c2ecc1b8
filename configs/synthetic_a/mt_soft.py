_base_ = './mt.py'
model = dict(teacher=dict(soft=True))
