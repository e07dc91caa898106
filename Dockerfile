# The image of the code location; webserver and daemon of the production profile run from it, too.
# Built in two stages: the compiler stays in the first.

FROM docker.io/library/python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE ./
COPY csrc csrc
COPY roman_assets roman_assets
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && pip install -c constraints.txt /wheels/*.whl

FROM docker.io/library/python:3.12-slim
RUN useradd --create-home --uid 10001 --shell /usr/sbin/nologin roman \
    && install -d -o roman -g roman /opt/roman /opt/dagster/dagster_home
COPY --from=build /opt/venv /opt/venv
COPY definitions.py /opt/roman/definitions.py
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    ROMAN_HOME=/tmp/roman
WORKDIR /opt/roman
USER 10001:10001
EXPOSE 3030
# code-server, not `api grpc`: it reloads the code location when asked to.
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "3030", \
     "--module-name", "definitions", "--working-directory", "/opt/roman"]
