# Two stages: the toolchain stays behind, the image holds one binary and the CA certificates.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies are a layer of their own: they change less often than the sources.
COPY Cargo.toml Cargo.lock ./
RUN for target in src/main.rs src/lib.rs $(sed -n 's/^path = "\(.*\.rs\)"/\1/p' Cargo.toml); do \
        mkdir -p "$(dirname "$target")" && echo 'fn main() {}' > "$target"; done \
    && cargo build --release --locked && rm -rf src target/release/deps/*wechat_im_bridge*
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /build/target/release/wechat-im-bridge /usr/local/bin/wechat-im-bridge
USER 10001:10001
# The configuration is read from /data/config.toml or from BRIDGE_* variables; the store lies beside it.
WORKDIR /data
VOLUME /data
# An unprivileged user may listen on 80 in a container: Docker opens the low ports to every user.
EXPOSE 80
ENTRYPOINT ["wechat-im-bridge"]
CMD ["serve"]
