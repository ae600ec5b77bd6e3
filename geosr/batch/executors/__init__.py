"""Executors of `geosr.batch.batch.run`: scenes side by side.

`threads` share one process and its nets. `processes` and `dask` have workers: each gets the job
without its nets and loads them once (`worker`); what comes back is one small Outcome a scene. A
scene whose worker is killed is tried once more. Outputs are whole or absent whatever happens to a
worker, and a scene done twice is done the same way.
"""
