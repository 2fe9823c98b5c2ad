# docker build -t hengyu .                                            the wheel, built here and installed into a bare Python
# docker run --rm -v "$PWD/out:/reports" -v hengyu:/cache hengyu       weighs the embedded default; its page is out/site/<run>
# docker run --rm -v "$PWD/data:/data:ro" -v "$PWD/out:/reports" -v hengyu:/cache hengyu run zh-sts --data /data
#
# pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) can be given with --build-arg; name an index of PyTorch's CPU builds
# there where no CUDA build is wanted.
FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
COPY . /src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN python -m pip install --no-cache-dir --constraint /wheels/constraints.txt /wheels/*.whl \
    && useradd --create-home hengyu \
    && mkdir /cache /reports \
    && chown hengyu /cache /reports
USER hengyu
WORKDIR /home/hengyu
ENV HENGYU_CACHE=/cache HENGYU_REPORTS=/reports HF_HOME=/cache/huggingface HF_HUB_DISABLE_TELEMETRY=1
VOLUME ["/cache", "/reports"]
ENTRYPOINT ["hengyu"]
CMD ["run", "smoke"]
