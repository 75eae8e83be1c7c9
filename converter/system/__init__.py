"""This wing opens files and stores, starts processes, shares memory among them, and shows the progress bar.

storage.py   files, wherever they are: on this machine, or in a store by Beam
processes.py processes that write shards, where the job runs in this process
room.py      memory that images take at a time, in all processes
progress.py  the bar on a terminal while the job runs in this process
"""
