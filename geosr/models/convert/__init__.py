"""Weights of other programs as geosr's: Keras HDF5, TorchScript, PyTorch state dicts, safetensors.

What can hold foreign code is opened in a process of its own, which gives back plain tensors.
"""

from geosr.models.convert.conversion import BANDS10, Converted, convert
from geosr.models.convert.nets import NETS

__all__ = ["BANDS10", "NETS", "Converted", "convert"]
