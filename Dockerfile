# One runtime image; the command chooses the process: up | serve | work | camera | demo | enrol | backup ...
# It needs no writable root: data and keys live in /data, short-lived files in /tmp.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/cardea
COPY requirements.txt ./
RUN /opt/cardea/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY workers workers
COPY migrations migrations
RUN /opt/cardea/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
    && /opt/cardea/bin/pip uninstall --yes --quiet setuptools pip

FROM python:3.11-slim
COPY --from=build /opt/cardea /opt/cardea
RUN useradd --uid 1000 --home-dir /data --no-create-home --shell /usr/sbin/nologin cardea \
    && install -d -o cardea -m 700 /data
USER cardea
WORKDIR /data
ENV PATH=/opt/cardea/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    CARDEA_DATA=/data CARDEA_CACHE=/data/cache CARDEA_HOST=0.0.0.0 CARDEA_LOG_FORMAT=json
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
ENTRYPOINT ["cardea"]
CMD ["up"]
