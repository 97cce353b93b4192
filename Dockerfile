# docker build -t pastiche:cpu .                             for CPUs
# docker build -t pastiche:gpu --build-arg DEVICE=gpu .      for NVIDIA GPUs
#
# docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 pastiche:cpu
# docker run --rm pastiche:cpu styles

ARG DEVICE=cpu

FROM python:3.12-slim AS build
ARG DEVICE
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/pastiche
RUN python -m venv --without-pip /opt/venv
COPY requirements/${DEVICE}.txt requirements/
RUN pip --python /opt/venv/bin/python install \
        --require-hashes --only-binary=:all: -r requirements/${DEVICE}.txt \
    && rm -r requirements
COPY LICENSE ./
COPY models models
COPY app app
# Any user may read. All networks are loaded once: without one that loads, no image is built.
RUN chmod -R a+rX . \
    && /opt/venv/bin/python -m compileall -q app \
    && PASTICHE_DEVICE=cpu /opt/venv/bin/python -m app.cli styles

FROM python:3.12-slim AS runtime-cpu
LABEL org.opencontainers.image.title="Pastiche" \
      org.opencontainers.image.description="Repaints photographs in the style of paintings" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/pastiche /srv/pastiche
# PYTHONSAFEPATH: the app is found by PYTHONPATH, never in a working directory that was mounted.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/pastiche \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PASTICHE_HOST=0.0.0.0 \
    PASTICHE_PORT=8000
WORKDIR /srv/pastiche
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PASTICHE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "app.cli"]
CMD ["serve"]

# The wheels bring CUDA and cuDNN; the driver comes from the host. Without a GPU the server says so
# and stays unready, where `auto` would paint on the CPU.
FROM runtime-cpu AS runtime-gpu
ENV PASTICHE_DEVICE=cuda \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006
FROM runtime-${DEVICE}
