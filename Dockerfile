# syntax=docker/dockerfile:1
# .ci/run has no container engine, so this file is not built there: build it yourself when you touch it (buildah needs no daemon).
#   docker build -t egress-gateway:0.1.0 .
#   docker build -t egress-gateway:0.1.0-transparent --target transparent .    # with nft and ip, for `egress-gateway routes`
# Pin the base for a release: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim

# ------------------------------------------------------------------------------------------------------------------ build
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.txt requirements-build.txt ./
# Wheels only and by hash: nothing that was not locked is run. The environment has no pip of its own.
RUN python3 -m venv --without-pip /opt/egress-gateway \
 && pip install --require-hashes --only-binary=:all: -r requirements-build.txt \
 && pip --python /opt/egress-gateway/bin/python3 install --require-hashes --only-binary=:all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
 && pip --python /opt/egress-gateway/bin/python3 install --no-deps --no-index /wheels/*.whl

# ---------------------------------------------------------------------------------------------------------------- runtime
FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="egress-gateway" \
      org.opencontainers.image.description="A forward proxy that decides, by name, where workloads may connect." \
      org.opencontainers.image.licenses="Apache-2.0"
# Nothing is installed in a running container, and nothing can be written there.
RUN pip uninstall --yes --root-user-action=ignore pip \
 && rm -rf /usr/local/lib/python3*/ensurepip /root/.cache
COPY --from=build /opt/egress-gateway /opt/egress-gateway
ENV PATH=/opt/egress-gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /etc/egress-gateway
USER 65532:65532
# 3128 the proxy; the admin port is on loopback unless gateway.yaml says otherwise.
EXPOSE 3128
# SIGTERM drains. The gateway handles its signals and reaps its children itself, so it may be process 1 without an init beside it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["egress-gateway"]
CMD ["run", "-c", "/etc/egress-gateway/gateway.yaml"]

# ------------------------------------------------------------------------------------------- the same with nft and ip in it
FROM runtime AS transparent
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nftables iproute2 \
 && rm -rf /var/lib/apt/lists/*
USER 65532:65532

# ------------------------------------------------------------------------------------------------ what is built by default
FROM runtime AS gateway
