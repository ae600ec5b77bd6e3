"""This machine: `bench` measures its speed, `doctor` says whether it is fit for geosr.

`limits` are the ceilings of the hardware, `reference` is super-resolution as it was published,
`stages` times the steps of geosr's, `agreement` compares the outputs of both.
"""
