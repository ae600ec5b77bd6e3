"""Scenes on several processes of this machine, or on a dask cluster: executors of `batch.run`.

Workers get a job without its nets and load them once; what comes back is one small Outcome a
scene. A scene whose worker is killed is tried once more. Outputs are whole or absent whatever
happens to a worker, and a scene done twice is done the same way.
"""
