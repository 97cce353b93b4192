# docker build -t pastiche:0.1.0 .                               for CPUs
# docker build -t pastiche:0.1.0-gpu --build-arg DEVICE=gpu .    for NVIDIA GPUs
#
# docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 pastiche:0.1.0
# docker run --rm pastiche:0.1.0 styles

ARG DEVICE=cpu

FROM python:3.12-slim AS build
ARG DEVICE
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv
RUN python -m venv --without-pip /opt/venv
COPY requirements/${DEVICE}.txt requirements/
RUN pip --python /opt/venv/bin/python install \
        --require-hashes --only-binary=:all: -r requirements/${DEVICE}.txt \
    && rm -r requirements
# The same package as in the wheel: app under the name pastiche, with the models inside it.
COPY LICENSE pastiche/
COPY app pastiche
COPY models pastiche/models
# Make the files readable by every user. Load all networks, so that the build fails if none loads.
RUN chmod -R a+rX pastiche \
    && /opt/venv/bin/python -m compileall -q pastiche \
    && PASTICHE_DEVICE=cpu /opt/venv/bin/python -m pastiche styles

FROM python:3.12-slim AS runtime-cpu
LABEL org.opencontainers.image.title="Pastiche" \
      org.opencontainers.image.description="Repaints photographs in the style of paintings" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/pastiche /srv/pastiche
# PYTHONSAFEPATH: Python finds the package by PYTHONPATH, never in a mounted working directory.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    PASTICHE_HOST=0.0.0.0 \
    PASTICHE_PORT=8000
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PASTICHE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "pastiche"]
CMD ["serve"]

# The wheels contain CUDA and cuDNN; the host provides the driver. Without a GPU the server stays
# unready and logs the reason; the device `auto` would fall back to the CPU.
FROM runtime-cpu AS runtime-gpu
ENV PASTICHE_DEVICE=cuda \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# hadolint ignore=DL3006
FROM runtime-${DEVICE}
