# curate in a container: `docker build --target cpu .` or `--target cuda`. See docs/installing.md.
# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE cli.py ./
COPY annotation annotation
COPY curate curate
COPY db db
COPY generators generators
COPY rewards rewards

# The wheels of PyTorch's CPU index save 3 GB of NVIDIA's libraries: name it with --build-arg TORCH_INDEX=...; without
# it the usual ones come. Both come from one index in one step.
FROM source AS cpu-packages
ARG TORCH_INDEX=
RUN python -m venv /opt/curate && /opt/curate/bin/pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX:+-i "$TORCH_INDEX"} torch torchvision && \
    /opt/curate/bin/pip install --no-cache-dir --constraint constraints.txt '.[postgres]'

# PyPI's wheels bring CUDA with them: the host needs NVIDIA's driver and container toolkit, the image no more.
FROM source AS cuda-packages
RUN python -m venv /opt/curate && \
    /opt/curate/bin/pip install --no-cache-dir --constraint constraints.txt '.[postgres]'

FROM python:3.12-slim-bookworm AS base
ENV PATH=/opt/curate/bin:$PATH PYTHONUNBUFFERED=1 CURATE_LABEL_STUDIO_ENV=/srv/label-studio
RUN useradd --create-home --uid 1000 curate && mkdir /workspace /srv/label-studio && \
    chown curate /workspace /srv/label-studio
USER curate
WORKDIR /workspace
VOLUME /workspace
ENTRYPOINT ["curate"]
CMD ["--help"]

FROM base AS cuda
COPY --from=cuda-packages /opt/curate /opt/curate

FROM base AS cpu
COPY --from=cpu-packages /opt/curate /opt/curate
