//! A customer's recording as MP3, for agents' clients.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::{Ffmpeg, FfmpegError, demuxer};
use crate::media::{FileType, Files, StoredFile};

/// The time limit of one child process.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The size of one read from a child process, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

impl Ffmpeg {
    /// Converts `recording` to MP3, at most `max_bytes` long, and stores it in `files`.
    pub async fn to_mp3(
        &self,
        files: &Files,
        recording: &StoredFile,
        max_bytes: u64,
    ) -> Result<StoredFile, FfmpegError> {
        let container = match recording.kind {
            FileType::Amr | FileType::AmrWb | FileType::Ogg | FileType::Wav => demuxer(recording.kind),
            _ => None,
        };
        let container = container.ok_or(FfmpegError::NotNeeded)?;
        let _permit = self.children.acquire().await.map_err(|_| FfmpegError::TimedOut)?;
        let conversion = self.pipe_mp3(files, recording, container, max_bytes);
        tokio::time::timeout(TIMEOUT, conversion).await.unwrap_or(Err(FfmpegError::TimedOut))
    }

    async fn pipe_mp3(
        &self,
        files: &Files,
        recording: &StoredFile,
        container: &str,
        max_bytes: u64,
    ) -> Result<StoredFile, FfmpegError> {
        let mut child = self
            .command(container, &files.path(&recording.hash))
            .args(["-vn", "-map_metadata", "-1", "-ac", "1", "-b:a", "32k", "-f", "mp3", "pipe:1"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(FfmpegError::Start)?;
        let mut out = child.stdout.take().ok_or(FfmpegError::Failed)?;
        let mut incoming = files.create(max_bytes).await?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = out.read(&mut chunk).await.map_err(FfmpegError::Start)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            incoming.write(bytes).await?;
        }
        let status = child.wait().await.map_err(FfmpegError::Start)?;
        if !status.success() || FileType::detect(incoming.head()) != FileType::Mp3 {
            return Err(FfmpegError::Failed);
        }
        Ok(incoming.finish().await?)
    }
}
