# The three modules of the paper, for rows to switch on: adaptation=dict(spatial=_base_.spatial, …)
spatial = dict(
    type='SpatialDiscriminator',
    channels=(512, 128, 128),
    dropout=0.5,
    loss=dict(type='DomainFocalLoss', gamma=5.0),  # as Strong-Weak DA [derived]
)
temporal_image = dict(
    type='TemporalImageDiscriminator',
    channels=512,
    loss=dict(type='DomainBCELoss'),  # Eq. 4
)
temporal_instance = dict(
    type='TemporalInstanceDiscriminator',
    channels=1024,
    dropout=0.5,
    loss=dict(type='DomainBCELoss'),  # Eq. 5
)
