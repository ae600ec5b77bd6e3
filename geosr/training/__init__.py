"""Training a net.

`train` is the page to read, `run` what a step does. They take pairs from `datasets` through
`loader`, a loss from `losses`, the optimiser from `schedule` and `muon`; `validation` measures,
`checkpoint` keeps, `distributed` shares the work between processes. `survey` says what a folder
would be read as.
"""
