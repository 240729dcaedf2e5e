# docker build --tag oneshot-ct .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" oneshot-ct infer --images ct --model MODEL --output labels
# Torch of the pinned version for CPU alone is smaller by gigabytes. It has an address of its own, which PyTorch's
# installation page names: docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS --tag oneshot-ct .

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
ARG PIP_EXTRA_INDEX_URL
WORKDIR /opt/oneshot-ct
COPY constraints.txt .
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --constraint constraints.txt /wheel/*.whl
# Whatever user runs it, also one without a home.
ENV MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 1000 oneshot
USER 1000
WORKDIR /data
ENTRYPOINT ["oneshot-ct"]
CMD ["--help"]
