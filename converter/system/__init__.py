"""This wing starts processes, and shows the progress bar.

processes.py starts processes that write shards and compare fingerprints, where the job runs in this process
progress.py  shows a bar on the terminal: images done, images/s, time left
"""
