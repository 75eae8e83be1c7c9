"""This wing predicts on files by an Apache Beam job, with the rows that the command gives without one.

    places -> files, cut into parts -> of each part, RunInference: read, decode, predict -> its rows -> joined in order

job.py     runs the job: prepares its folder, waits for the end, and joins the rows
asked.py   defines the request for a job, and checks it before any work
graph.py   builds the graph of the Beam job
handler.py loads the exported model once in each process, and predicts on parts: the handler for RunInference
joining.py joins the rows of all parts, in order, to the file of predictions
folder.py  names and writes the files of a job: the list of its images, its model, the rows of its parts
"""
