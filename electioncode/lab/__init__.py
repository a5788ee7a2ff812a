"""Commands and experiments. They import the library; the library never imports them.

`cli` holds the commands, `training` the paper's training runs, `figures` the paper's figures, `bench` the benchmarks.
They share `errors`, `processes`, `machine`, `plots` and `text`.
"""
