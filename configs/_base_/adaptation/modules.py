# The three modules of the paper, and the combinations of its tables: a row is `model = dict(adaptation=_base_.full)`.
focal = dict(type='DomainFocalLoss', gamma=5.0)  # as Strong-Weak DA [derived]
bce = dict(type='DomainBCELoss')  # Eq. 4 and 5
spatial = dict(type='SpatialDiscriminator', channels=(512, 128, 128), dropout=0.5, loss=focal)
temporal_image = dict(type='TemporalImageDiscriminator', channels=512, loss=bce)
temporal_instance = dict(type='TemporalInstanceDiscriminator', channels=1024, dropout=0.5, loss=bce)

t_img = dict(temporal_image=temporal_image)
t_inst = dict(temporal_instance=temporal_instance)
s_img = dict(spatial=spatial)
t_img_s_img = dict(temporal_image=temporal_image, spatial=spatial)
t_inst_s_img = dict(temporal_instance=temporal_instance, spatial=spatial)
full = dict(temporal_image=temporal_image, temporal_instance=temporal_instance, spatial=spatial)
# D_Tinst by class; a row sets its num_classes
temporal_instance_by_class = dict(temporal_instance, type='ClassWiseInstanceDiscriminator')
