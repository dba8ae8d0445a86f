# syntax=docker/dockerfile:1
# .ci/run has no container engine, so this file is not built there.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.txt requirements-build.txt ./
RUN pip install --require-hashes -r requirements-build.txt \
 && pip install --require-hashes --prefix=/install -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN pip install --no-deps --no-build-isolation --prefix=/install .

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="egress-gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /install /usr/local
USER 65532:65532
WORKDIR /etc/egress-gateway
# 3128 the proxy; the admin port is on loopback unless gateway.yaml says otherwise.
EXPOSE 3128
# SIGTERM drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["egress-gateway"]
CMD ["run", "-c", "/etc/egress-gateway/gateway.yaml"]
