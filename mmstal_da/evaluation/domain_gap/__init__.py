"""How far apart two domains are for a detector: features, a fresh linear probe, pictures' points.

``probe`` and ``embedding`` work on NumPy arrays and need scikit-learn (extra ``analysis``).
``features`` runs a detector.
"""
