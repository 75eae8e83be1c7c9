"""The contract between the converter and the trainer: the format of a dataset on disk.

Both packages take every key, dtype, shape and file name from here, and neither imports the other.

    example.py     defines one record: its features, encoding and parsing
    proto.py       defines tf.train.Example without TensorFlow
    tfrecord.py    writes and reads shards, and the text of their indexes
    layout.py      defines every file name of a dataset
    metadata.py    defines DatasetInfo, the content of manifest.json
    rows.py        reads from which row of which table each example of a shard was made
    duplicates.py  reads the list of images that are the same as others, or nearly
    corrections.py defines the columns of a CSV of corrected labels
    embeddings.py  defines and reads the file of features of images with their names
    statistics.py  counts the examples of a shard, a split or a dataset
    tfds.py        writes the JSON files that tensorflow-datasets reads
    tfx.py         writes the schema and the statistics that TFX and TFDV read
    derived.py     returns all files that follow from the manifest: those of tfds.py and tfx.py
    digest.py      adds a digest to the fields of a JSON file, and checks it
    typed.py       writes dataclasses as JSON; builds them from it, and checks every value against its declared type
"""
