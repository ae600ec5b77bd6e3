"""Training a net.

`train` is the page to read. It takes pairs from `datasets` through `loader`, a loss from `losses`,
its optimiser from `schedule` and `muon`; `validation` measures, `checkpoint` keeps, `distributed`
shares the work between processes. `survey` says what a folder would be read as.
"""
