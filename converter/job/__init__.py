"""This wing runs a conversion as an Apache Beam job, and publishes the dataset that results.

pipeline.py   runs a conversion: checks the folders, runs the Beam job, and returns the resulting dataset
graph.py      builds the graph of the Beam job, as one expression
joining.py    adds the steps that read the table and list the images, and join rows with the files that they name
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
engines.py    checks that there is the engine that the flags of Beam name
remote.py     runs a job on an engine outside of this process
engine_text.py turns the text of an engine about a failed job into a sentence
runners.py    chooses the Beam runner, parses its options, and stages our package for its workers
dataflow.py   checks a job for Dataflow before it is submitted, and says where it can be watched
logs.py       makes the log of Beam one for people who convert images
workers.py    checks on a worker, before it does any work, that it can do what the job needs
watching.py   says how far a job on other machines is: images, rate, time left and rejects
parallel.py   runs the calls of one step of the Beam job in several processes of this machine
"""
