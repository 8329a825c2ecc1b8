_base_ = './full.py'
by_class = dict(_base_.temporal_instance_by_class, num_classes=len(_base_.classes))
model = dict(adaptation=dict(temporal_instance=by_class))
