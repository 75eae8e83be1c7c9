"""The contract between the converter and the trainer: what a dataset on disk is.

Both sides derive every key, dtype, shape and file name from here, and neither imports the other.

    example.py     one record: its features, how it is encoded and parsed
    proto.py       tf.train.Example without TensorFlow
    tfrecord.py    the file format of a shard and of its index
    layout.py      every file name of a dataset
    metadata.py    DatasetInfo, kept as manifest.json
    statistics.py  counts of the examples in a shard, a split, a dataset: they add up
    tfds.py        the JSON that tensorflow-datasets reads
    tfx.py         the schema and statistics that tensorflow-metadata (TFX, TFDV) reads
    derived.py     the files of both, which follow from DatasetInfo
    typed.py       makes of JSON the dataclasses that were written to it, of the declared types alone
    errors.py      UserError: what a person can mend
    machine.py     cores, memory and disk that this process may use
    locking.py     lets one process at a time work in a folder
    command.py     how the command lines end
    signals.py     Ctrl-C and SIGTERM, while modules are imported and later
    printable.py   keeps what came from the input from speaking to the terminal
    native_stderr.py  keeps the lines of libjpeg from the terminal
    quiet.py       keeps the noise of native libraries from the terminal; TensorFlow when it is needed
"""

__version__ = "0.1.0"
