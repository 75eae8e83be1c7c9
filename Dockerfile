# The image of workers on other machines: docs/dataflow.md. Build it in the checkout from which the job is submitted:
#
#   docker build --tag=REGION-docker.pkg.dev/PROJECT/REPOSITORY/multihot .
#
# Workers must have the Python and the Beam of the launcher. `python -m pip show apache-beam` says which that is.
ARG PYTHON=3.11
ARG BEAM=2.77.0
FROM apache/beam_python${PYTHON}_sdk:${BEAM}
ARG BEAM

WORKDIR /opt/multihot
COPY LICENSE README.md pyproject.toml setup.cfg ./
COPY converter converter
COPY multihot multihot
COPY schemas schemas
COPY trainer trainer
# Beam is named, so that pip does not replace that of the base image. The last command fails if anything is missing.
RUN pip install --no-cache-dir . "apache-beam[gcp]==${BEAM}" && cd / && python -c "import converter.job.pipeline"
# The base image has the entry point that starts a worker.
