# One image for everything that runs: webserver, daemon, code location, runs, steps, migrations.
# Wheels and the environment are made in the first stages; the compiler and pip's caches stay there. The dependencies
# are a layer of their own: a new version of the code is a few MB to push and pull.

FROM docker.io/library/python:3.12-slim AS dependencies
WORKDIR /src
# Constraints hold for what builds wheels, too (newer versions of pip read the second variable).
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
COPY pyproject.toml constraints.txt deploy/image/dependencies.py deploy/image/trim.py ./
RUN python -m venv --without-pip /opt/venv \
    && python dependencies.py pyproject.toml > requirements.txt \
    && pip --python /opt/venv/bin/python install --no-compile -r requirements.txt \
    && python trim.py /opt/venv \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM dependencies AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY roman_assets roman_assets
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index --prefix /opt/app /wheels/*.whl \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/app/lib

FROM docker.io/library/python:3.12-slim
RUN useradd --create-home --uid 10001 --shell /usr/sbin/nologin roman \
    && install -d -o roman -g roman /opt/roman /opt/dagster/dagster_home
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=build /opt/app /opt/venv
COPY constraints.txt /opt/roman/
# The same bits on every kind of node (roman_assets/platform/arithmetic.py).
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    MPLCONFIGDIR=/tmp/matplotlib \
    OPENBLAS_CORETYPE=Haswell \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" \
    ROMAN_HOME=/tmp/roman
WORKDIR /opt/roman
USER 10001:10001
EXPOSE 3030
# code-server, not `api grpc`: it reloads the code location when asked to.
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "3030", \
     "--module-name", "roman_assets.orchestration.code_location"]
