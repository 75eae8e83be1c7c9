"""This wing runs a conversion as an Apache Beam job, and publishes the dataset that results.

pipeline.py   runs it: looks at what there is before, and at what came of it
graph.py      the graph of the Beam job: wires the above into one readable expression
commit.py     the last step: reconcile counts, write the metadata, publish
publishing.py puts a whole dataset into its place
leftovers.py  what a conversion has left that did not come to its end
runners.py    which runner, its options, and the package that it stages
parallel.py   runs the calls of a step in processes, where there are some
"""
