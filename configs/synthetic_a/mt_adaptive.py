_base_ = './mt.py'
model = dict(teacher=dict(adaptive=0.99))
