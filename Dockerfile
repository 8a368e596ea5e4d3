# The image: one glibc binary on distroless, no shell, not root.
#   docker build -t portcullis .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches keep dependencies between builds; the binary is copied out because a cache is not part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked -p portcullis && \
    install -D -m 0755 target/dist/portcullis /out/portcullis

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="An authorization sidecar" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/portcullis /usr/local/bin/portcullis
USER 65532:65532
EXPOSE 8000 8180 9180 9191 9192
# SIGTERM drains: unready, no new connections, requests in flight finish.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["serve", "-c", "/etc/portcullis/config/portcullis.yaml"]
