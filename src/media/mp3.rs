//! Converts recordings to MP3 with the machine's `ffmpeg`, if there is one.
//!
//! The child process sees only one file, has a time limit and an output limit, and is killed when
//! its owner is dropped. It reads only the containers that a recording may have, so that no file
//! can make it open another one.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::{FileType, Files, FilesError, StoredFile};

/// The most child processes at once.
const MAX_CHILDREN: usize = 2;
/// The time limit of one child process.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The size of one read from a child process, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// The converter. Clones share the limit on child processes.
#[derive(Clone, Debug)]
pub struct Mp3Converter {
    program: PathBuf,
    children: Arc<Semaphore>,
}

/// Why there is no MP3.
#[derive(Debug, thiserror::Error)]
pub enum Mp3Error {
    /// The file is not a recording, or is of a type that needs no conversion.
    #[error("there is nothing to convert")]
    NotNeeded,
    /// The child process could not be started.
    #[error("ffmpeg could not be started: {0}")]
    Start(std::io::Error),
    /// The child process failed: the file is damaged, or ffmpeg lacks a codec.
    #[error("ffmpeg could not convert the recording")]
    Failed,
    /// The child process took too long.
    #[error("ffmpeg took too long")]
    TimedOut,
    /// The MP3 could not be stored.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl Mp3Converter {
    /// Finds the `ffmpeg` in the directories of `search` (a list like `PATH`). Blocks.
    pub fn find(search: &std::ffi::OsStr) -> Option<Self> {
        let candidates = std::env::split_paths(search).map(|folder| folder.join("ffmpeg"));
        let program = candidates.filter(|path| path.is_absolute()).find(|path| is_program(path))?;
        Some(Self { program, children: Arc::new(Semaphore::new(MAX_CHILDREN)) })
    }

    /// Converts `recording` to MP3, at most `max_bytes` long, and stores it in `files`.
    pub async fn convert(
        &self,
        files: &Files,
        recording: &StoredFile,
        max_bytes: u64,
    ) -> Result<StoredFile, Mp3Error> {
        let container = match recording.kind {
            FileType::Amr | FileType::AmrWb => "amr",
            FileType::Ogg => "ogg",
            FileType::Wav => "wav",
            _ => return Err(Mp3Error::NotNeeded),
        };
        let _permit = self.children.acquire().await.map_err(|_| Mp3Error::TimedOut)?;
        let conversion = self.run_ffmpeg(files, recording, container, max_bytes);
        tokio::time::timeout(TIMEOUT, conversion).await.unwrap_or(Err(Mp3Error::TimedOut))
    }

    async fn run_ffmpeg(
        &self,
        files: &Files,
        recording: &StoredFile,
        container: &str,
        max_bytes: u64,
    ) -> Result<StoredFile, Mp3Error> {
        let mut child = Command::new(&self.program)
            .env_clear()
            .args(["-nostdin", "-v", "quiet", "-protocol_whitelist", "file,pipe", "-f", container, "-i"])
            .arg(files.path(&recording.hash))
            .args(["-vn", "-map_metadata", "-1", "-ac", "1", "-b:a", "32k", "-f", "mp3", "pipe:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Mp3Error::Start)?;
        let mut out = child.stdout.take().ok_or(Mp3Error::Failed)?;
        let mut incoming = files.create(max_bytes).await?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = out.read(&mut chunk).await.map_err(Mp3Error::Start)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            incoming.write(bytes).await?;
        }
        let status = child.wait().await.map_err(Mp3Error::Start)?;
        if !status.success() || FileType::detect(incoming.head()) != FileType::Mp3 {
            return Err(Mp3Error::Failed);
        }
        Ok(incoming.finish().await?)
    }
}

fn is_program(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    async fn store(files: &Files, bytes: &[u8]) -> StoredFile {
        let mut incoming = files.create(10_000).await.unwrap();
        incoming.write(bytes).await.unwrap();
        incoming.finish().await.unwrap()
    }

    /// A script that stands in for ffmpeg.
    fn fake_ffmpeg(folder: &std::path::Path, script: &str) -> Mp3Converter {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("ffmpeg");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        assert!(Mp3Converter::find(folder.as_os_str()).is_none(), "it cannot be run yet");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Mp3Converter::find(folder.as_os_str()).unwrap()
    }

    #[tokio::test]
    async fn failed_oversized_or_wrong_output_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("media"), Clock::system()).unwrap();
        let amr = store(&files, b"#!AMR\n\x3c").await;
        let failing = fake_ffmpeg(folder.path(), "printf ID3; exit 1");
        assert!(matches!(failing.convert(&files, &amr, 1_000).await, Err(Mp3Error::Failed)));
        std::fs::remove_file(folder.path().join("ffmpeg")).unwrap();
        let other = fake_ffmpeg(folder.path(), "printf '<html>'");
        assert!(matches!(other.convert(&files, &amr, 1_000).await, Err(Mp3Error::Failed)));
        std::fs::remove_file(folder.path().join("ffmpeg")).unwrap();
        let endless = fake_ffmpeg(folder.path(), "while printf 'ID3 and on and on and on'; do :; done");
        let refused = endless.convert(&files, &amr, 10_000).await;
        assert!(matches!(refused, Err(Mp3Error::Files(FilesError::TooLarge(10_000)))), "{refused:?}");
        let text = store(&files, b"words").await;
        assert!(matches!(endless.convert(&files, &text, 10_000).await, Err(Mp3Error::NotNeeded)));
        assert_eq!(files.list().unwrap().count(), 2);
    }
}
