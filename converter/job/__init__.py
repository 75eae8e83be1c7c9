"""This wing runs a conversion as an Apache Beam job, and publishes the dataset that results.

What concerns every job, such as runners and their workers, is in multihot/beam.

pipeline.py   runs a conversion: checks the folders, runs the Beam job, and returns the resulting dataset
graph.py      builds the graph of the Beam job, as one expression
joining.py    adds the steps that read the table and list the images, and join rows with the files that they name
bucketing.py  puts the items of many elements into buckets
sizing.py     determines the numbers of buckets, parts and processes of a job from the numbers of its rows and files
duplicates.py adds the steps that find images that are the same or nearly the same
results.py    defines ConversionResult, the results of all steps before the commit, and makes the manifest of them
refusals.py   says why a conversion publishes no dataset: counts that do not add up, or too many rejected rows
commit.py     ends a conversion: reconciles the counts, writes the metadata, and publishes the dataset
embedded.py   adds the steps that use copies that were found by features
gathering.py  brings shards from the attempts that wrote them to their place in the dataset
publishing.py moves a finished dataset into its place
claims.py     lets one conversion at a time write and publish a dataset
leftovers.py  describes the files that an unfinished conversion has left, and how to go on
failures.py   tells mistakes of the user from failures that may pass, where a step runs on a worker
counting.py   says how far a conversion on other machines is: by counters, or by its finished shards
parallel.py   runs the calls of one step of the Beam job in several processes of this machine
"""
