"""Many scenes in one run, which may be interrupted and taken up again.

`targets` says which output each scene goes to, `job` what is done to it and what became of it,
`batch` works through them, `executors` do so side by side; `records` tell what is finished, `locks`
keep two runs apart, `status` and `verify` look at a folder afterwards, `checksums` compares inputs
with what came with them.
"""
