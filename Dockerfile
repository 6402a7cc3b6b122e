# Two stages: the final image has the binary and the CA certificates, but no toolchain.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Build the dependencies in a layer of their own, because they change less often than the sources.
COPY Cargo.toml Cargo.lock ./
RUN for target in src/main.rs src/lib.rs $(sed -n 's/^path = "\(.*\.rs\)"/\1/p' Cargo.toml); do \
        mkdir -p "$(dirname "$target")" && echo 'fn main() {}' > "$target"; done \
    && cargo build --release --locked && rm -rf src target/release/deps/*wechat_im_bridge*
COPY migrations migrations
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /build/target/release/wechat-im-bridge /usr/local/bin/wechat-im-bridge
USER 10001:10001
# The bridge reads /data/config.toml or BRIDGE_* variables, and keeps its store in /data too.
WORKDIR /data
VOLUME /data
# An unprivileged user may listen on port 80: Docker allows low ports to every user of a container.
EXPOSE 80
ENTRYPOINT ["wechat-im-bridge"]
CMD ["serve"]
