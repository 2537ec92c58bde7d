# Runs the README's first command in a container:
#
#   docker build -t ppi_train .                                    # CPU
#   docker build -t ppi_train --build-arg TORCH=cu130 .            # CUDA 13; run with `--gpus all`
#   docker build -t ppi_train --build-arg EXTRAS=cluster,esm .     # with extras of pyproject.toml
#   docker run --rm -v "$PWD/work:/work" ppi_train                 # the built-in example, end to end
#   docker run --rm -v "$PWD/work:/work" ppi_train ppi-train predict --fasta /work/my.fasta --all_pairs true \
#     --top_k 10 --output /work/partners.tsv
#
# Data, runs and mlflow.db are written to /work, which user 1000 must be able to write to.
FROM python:3.11-slim

# `cpu` takes PyTorch's own index, whose wheels are a tenth of the size; another name is one of its CUDA indexes.
ARG TORCH=cpu
ARG EXTRAS=

# MLflow's projects ask git for the version of the code.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/* \
  && useradd --uid 1000 --create-home ppi \
  && install -d -o ppi -g ppi /work

WORKDIR /opt/ppi_train
COPY . .
RUN pip install --no-cache-dir --extra-index-url "https://download.pytorch.org/whl/${TORCH}" ".${EXTRAS:+[${EXTRAS}]}"

ENV MLFLOW_DISABLE_TELEMETRY=true \
  MLFLOW_TRACKING_URI=sqlite:////work/mlflow.db \
  PPI_TRAIN_CACHE=/work/cache

USER 1000
WORKDIR /work
CMD ["mlflow", "run", "/opt/ppi_train", "--env-manager", "local", \
  "-P", "data_dir=/work/data", "-P", "output_dir=/work/runs"]
