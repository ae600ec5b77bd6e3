"""Nets that learn on the scene they make finer, and need no training data (task `fits`).

`projection` is what they share: the point spread of the scene, and making an estimate agree with
the image. How they learn is `geosr.inference.fit`.
"""
