# docker build -t hengyu .                     the wheel, built here and installed into a bare Python
# mkdir -p out                                 a folder that docker made itself would belong to root
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/out:/reports" -v hengyu:/cache hengyu
#                                              evaluates the smoke suite; its page is out/site/<run>/index.html
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/data:/data:ro" -v "$PWD/out:/reports" -v hengyu:/cache \
#     hengyu run zh-sts --data /data
#
# pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) can be given with --build-arg; name an index of PyTorch's CPU builds
# there where no CUDA build is wanted.
FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY . /src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
# whoever runs it, as --user says, writes into the two volumes; the sticky bit keeps what is others'
RUN python -m pip install --no-cache-dir --constraint /wheels/constraints.txt /wheels/*.whl \
    && useradd --create-home hengyu \
    && mkdir --mode 1777 /cache /reports
USER hengyu
# a user without an entry in /etc/passwd has neither home nor name
ENV HOME=/tmp USER=hengyu HENGYU_CACHE=/cache HENGYU_REPORTS=/reports HF_HOME=/cache/huggingface HF_HUB_DISABLE_TELEMETRY=1
WORKDIR /reports
VOLUME ["/cache", "/reports"]
ENTRYPOINT ["hengyu"]
CMD ["run", "smoke"]
