"""This wing starts processes, shares memory among them, and shows the progress bar.

processes.py starts processes that write shards and compare fingerprints, where the job runs in this process
room.py      shares the memory for decoded images among all threads and processes of a conversion
progress.py  shows a bar on the terminal: images done, images/s, time left
"""
