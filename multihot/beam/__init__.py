"""Runs jobs of Apache Beam: the parts that a conversion and predictions have in common, whatever the job does.

runners.py     chooses the Beam runner, parses its options, and stages our package for its workers
dataflow.py    checks a job for Dataflow before it is submitted, and says where it can be watched
engines.py     checks that there is the engine that the flags of Beam name
here.py        runs a job in this process
remote.py      runs a job on an engine outside of this process
engine_text.py turns the text of an engine about a failed job into a sentence
logs.py        makes the log of Beam one for people who wait for a job
workers.py     checks on a worker, before it does any work, that it can do what the job needs
watching.py    says how far a job is: images, rate, time left and rejects
"""
