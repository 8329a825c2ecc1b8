_base_ = './mt.py'
model = dict(teacher=dict(tubes=True))
custom_hooks = [dict(type='BurnInTeacherHook'), dict(type='TubeMemoryHook')]
