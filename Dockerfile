# Three stages: the final image has the bridge, a small ffmpeg and the CA certificates, but no toolchain.
FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Build the dependencies in a layer of their own, because they change less often than the sources.
COPY Cargo.toml Cargo.lock ./
RUN for target in src/main.rs src/lib.rs $(sed -n 's/^path = "\(.*\.rs\)"/\1/p' Cargo.toml); do \
        mkdir -p "$(dirname "$target")" && echo 'fn main() {}' > "$target"; done \
    && cargo build --release --locked && rm -rf src target/release/deps/*wechat_im_bridge*
COPY migrations migrations
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

# Debian's package ffmpeg brings 453 MB. This one, from Debian's source, has 4 MB: only the formats that the
# bridge converts, and no network. It is linked with the static library of the MP3 encoder.
FROM debian:12.12-slim AS ffmpeg
RUN sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources && apt-get update \
    && apt-get install -y --no-install-recommends dpkg-dev gcc libc6-dev libmp3lame-dev make \
    && rm /usr/lib/*-linux-gnu/libmp3lame.so
WORKDIR /build
RUN apt-get source ffmpeg && cd ffmpeg-*/ && ./configure --disable-everything --disable-autodetect --disable-network \
        --disable-doc --disable-debug --disable-ffplay --disable-ffprobe --disable-avdevice --disable-postproc \
        --disable-x86asm --enable-libmp3lame --enable-protocol=file,pipe --enable-demuxer=aac,amr,mov,mp3,ogg,wav \
        --enable-decoder=aac,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,flac,mp3,opus,pcm_alaw,pcm_f32le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24le,pcm_u8,speex,vorbis \
        --enable-parser=aac,amr,flac,h264,hevc,mpeg4video,mpegaudio,opus,vorbis --enable-bsf=aac_adtstoasc \
        --enable-encoder=aac,libmp3lame --enable-muxer=mp3,mp4 --enable-filter=aformat,anull,aresample,atempo,null \
    && make -j"$(nproc)" ffmpeg && mv ffmpeg /build/ffmpeg

FROM debian:12.12-slim
LABEL org.opencontainers.image.title="wechat-im-bridge" \
    org.opencontainers.image.description="Bridges WeChat Official Accounts and Tencent Cloud IM" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /build/target/release/wechat-im-bridge /usr/local/bin/wechat-im-bridge
COPY --from=ffmpeg /build/ffmpeg /usr/local/bin/ffmpeg
USER 10001:10001
# The bridge reads /data/config.toml or BRIDGE_* variables, and keeps its store in /data too.
WORKDIR /data
VOLUME /data
# An unprivileged user may listen on port 80: Docker allows low ports to every user of a container.
EXPOSE 80
# For operators, on loopback unless BRIDGE_SERVER__OPS_LISTEN says otherwise: /readyz and /metrics.
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["wechat-im-bridge", "healthcheck"]
ENTRYPOINT ["wechat-im-bridge"]
CMD ["serve"]
