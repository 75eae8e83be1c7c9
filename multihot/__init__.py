"""The parts of the programs that are not about datasets, for the converter and the trainer alike.

How a program is declared and called:
    settings.py  declares a setting as a field of a dataclass, with its help, choices and unit
    usage.py     declares a program and its settings, and writes --help and the usage below an error
    flags.py     parses a command line: flags are made from the settings, and the settings from their values
    tables.py    writes the tables of flags in the docs from it
    __main__.py  runs a program by its name: the command `multihot`

How a program runs and ends:
    command.py   runs a program and ends its process: messages and exit status
    signals.py   handles Ctrl-C and SIGTERM, while modules are imported and later
    errors.py    defines UserError: an error that the user can correct
    reasons.py   defines the closed list of reasons for which a row or an image cannot be used
    limits.py    defines the limits of one image, in bytes and pixels, for all that decodes images
    printable.py escapes control characters in text from the input, before it is printed
    formulas.py  keeps spreadsheets from running a cell of a CSV as a formula
    markdown.py  writes text and tables in Markdown, so that names from the input stay text
    native_stderr.py  removes the warnings of libjpeg from standard error
    charts.py    draws charts as SVG that takes the colours and fonts of the page around it
    pages.py     renders self-contained pages from templates, in one style
    quiet.py     hides the output of native libraries, and imports TensorFlow when it is first needed
    machine.py   returns the cores, the memory and the disk space that this process may use
    locking.py   locks a folder or an open file against other processes
    proxies.py   lets gRPC reach machines of the own network past a proxy

What is done with images:
    images/      proves that the bytes of an image decode, and prepares them

Where files are:
    storage/     opens, lists and moves files on this machine and in stores (`gs://`, `s3://`, `az://`)

Where work is done by others:
    beam/        runs jobs of Apache Beam: runners, engines, staging, workers, progress
"""

__version__ = "0.1.0"
