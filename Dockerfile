# One runtime image; the command chooses the process: up | serve | work | camera | demo.
FROM python:3.11-slim

WORKDIR /cardea
COPY requirements.txt pyproject.toml README.md ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY app app
COPY workers workers
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --create-home --uid 1000 cardea \
    && install -d -o cardea /data

USER cardea
ENV CARDEA_DATA=/data CARDEA_HOST=0.0.0.0
VOLUME /data
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez')"]
ENTRYPOINT ["cardea"]
CMD ["up"]
