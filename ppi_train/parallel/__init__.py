"""Work that is divided into numbered tasks, in this process or on the workers of a Dask cluster.

A task is a pure function of a job and a number, so that any worker may do it, and do it again. Dask is
imported here alone, and only where workers are asked for.
"""
