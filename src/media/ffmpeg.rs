//! Runs the machine's `ffmpeg`, if there is one, on files from untrusted clients.
//!
//! The child process sees only one file, has a time limit and an output limit, and is killed when
//! its owner is dropped. It reads only the container that the file's first bytes show, opens no
//! address, and never gets a name or a word of a message.

mod mp3;
mod video;
mod voice;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Semaphore;

use super::files::Scratch;
use super::{FileType, Files, FilesError};
use crate::model::MediaHash;

pub use voice::MAX_VOICE_MS;

/// What does not work on a machine without ffmpeg.
pub const WITHOUT_FFMPEG: &str = "voice messages from agents' phones (M4A, WAV, AAC, Opus) and their .mov \
     videos reach customers as links, and agents on the Web cannot hear customers' voice messages (AMR)";

/// The most child processes at once.
const MAX_CHILDREN: usize = 2;

/// The converter. Clones share the limit on child processes.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    program: PathBuf,
    children: Arc<Semaphore>,
}

/// Why there is no converted file.
#[derive(Debug, thiserror::Error)]
pub enum FfmpegError {
    /// The file is of a type that is not converted.
    #[error("there is nothing to convert")]
    NotNeeded,
    /// The child process could not be started.
    #[error("ffmpeg could not be started: {0}")]
    Start(std::io::Error),
    /// The child process failed: the file is damaged, or ffmpeg lacks a codec.
    #[error("ffmpeg could not convert the file")]
    Failed,
    /// The child process took too long.
    #[error("ffmpeg took too long")]
    TimedOut,
    /// The converted recording is too long, even a little faster.
    #[error("the recording is longer than a minute")]
    TooLong,
    /// The converted file is larger than this many bytes.
    #[error("the converted file is larger than {0} bytes")]
    TooLarge(u64),
    /// The original was removed in the meantime.
    #[error("the file is not here any more")]
    Lost,
    /// The converted file could not be stored.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// One run of ffmpeg that writes a file.
#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    /// The name of the container that is read.
    container: &'a str,
    /// The options of the output.
    output: &'a [&'a str],
    /// The name of the container that is written.
    muxer: &'a str,
    /// The largest output, in bytes.
    max_bytes: u64,
    /// The time limit.
    timeout: Duration,
}

impl Ffmpeg {
    /// Finds the `ffmpeg` of the machine in the directories of `PATH`. Blocks.
    pub fn find() -> Option<Self> {
        std::env::var_os("PATH").and_then(|search| Self::find_in(&search))
    }

    /// Finds the `ffmpeg` in the directories of `search` (a list like `PATH`). Blocks.
    fn find_in(search: &std::ffi::OsStr) -> Option<Self> {
        let candidates = std::env::split_paths(search).map(|folder| folder.join("ffmpeg"));
        let program = candidates.filter(|path| path.is_absolute()).find(|path| is_program(path))?;
        Some(Self { program, children: Arc::new(Semaphore::new(MAX_CHILDREN)) })
    }

    /// The path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command that reads `input` as `container`, and no other file or address.
    fn command(&self, container: &str, input: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .args(["-nostdin", "-v", "quiet", "-protocol_whitelist", "file,pipe", "-threads", "1"])
            .args(["-f", container]);
        if container == MOV {
            // A file may name other files as the place of its data.
            command.args(["-enable_drefs", "0"]);
        }
        command
            .arg("-i")
            .arg(as_url(input))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs ffmpeg once and returns the file that it wrote.
    async fn run(&self, files: &Files, original: &MediaHash, run: Run<'_>) -> Result<Scratch, FfmpegError> {
        let _permit = self.children.acquire().await.map_err(|_| FfmpegError::TimedOut)?;
        let scratch = files.scratch();
        let mut child = self
            .command(run.container, &files.path(original))
            .args(run.output)
            .args(["-threads", "1", "-fs", &run.max_bytes.to_string(), "-f", run.muxer, "-y"])
            .arg(as_url(scratch.path()))
            .spawn()
            .map_err(FfmpegError::Start)?;
        let ended = tokio::time::timeout(run.timeout, child.wait()).await;
        let status = ended.map_err(|_| FfmpegError::TimedOut)?.map_err(FfmpegError::Start)?;
        if !status.success() {
            return Err(FfmpegError::Failed);
        }
        // ffmpeg ends successfully at the limit of size.
        match tokio::fs::metadata(scratch.path()).await {
            Ok(found) if found.len() >= run.max_bytes => Err(FfmpegError::TooLarge(run.max_bytes)),
            Ok(found) if found.len() > 0 => Ok(scratch),
            Ok(_) | Err(_) => Err(FfmpegError::Failed),
        }
    }
}

/// The name of the demuxer for MP4 and QuickTime files.
const MOV: &str = "mov";

/// The name of ffmpeg's demuxer for a type of file; `None` if files of that type are not converted.
fn demuxer(kind: FileType) -> Option<&'static str> {
    Some(match kind {
        FileType::Amr | FileType::AmrWb => "amr",
        FileType::Ogg => "ogg",
        FileType::Wav => "wav",
        FileType::Mp3 => "mp3",
        FileType::Aac => "aac",
        FileType::M4a | FileType::Mp4 | FileType::Mov => MOV,
        // Only patched versions of ffmpeg have it.
        FileType::Silk => "silk",
        _ => return None,
    })
}

/// A path as ffmpeg reads it, whatever characters it has.
fn as_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

fn is_program(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::media::StoredFile;

    async fn store(files: &Files, bytes: &[u8]) -> StoredFile {
        let mut incoming = files.create(10_000).await.unwrap();
        incoming.write(bytes).await.unwrap();
        incoming.finish().await.unwrap()
    }

    /// A script that stands in for ffmpeg.
    fn fake_ffmpeg(folder: &std::path::Path, script: &str) -> Ffmpeg {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("ffmpeg");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        assert!(Ffmpeg::find_in(folder.as_os_str()).is_none(), "it cannot be run yet");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Ffmpeg::find_in(folder.as_os_str()).unwrap()
    }

    #[tokio::test]
    async fn failed_oversized_or_wrong_output_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("media"), Clock::system()).unwrap();
        let amr = store(&files, b"#!AMR\n\x3c").await;
        let failing = fake_ffmpeg(folder.path(), "printf ID3; exit 1");
        assert!(matches!(failing.to_mp3(&files, &amr, 1_000).await, Err(FfmpegError::Failed)));
        std::fs::remove_file(folder.path().join("ffmpeg")).unwrap();
        let other = fake_ffmpeg(folder.path(), "printf '<html>'");
        assert!(matches!(other.to_mp3(&files, &amr, 1_000).await, Err(FfmpegError::Failed)));
        std::fs::remove_file(folder.path().join("ffmpeg")).unwrap();
        let endless = fake_ffmpeg(folder.path(), "while printf 'ID3 and on and on and on'; do :; done");
        let refused = endless.to_mp3(&files, &amr, 10_000).await;
        assert!(matches!(refused, Err(FfmpegError::Files(FilesError::TooLarge(10_000)))), "{refused:?}");
        let text = store(&files, b"words").await;
        assert!(matches!(endless.to_mp3(&files, &text, 10_000).await, Err(FfmpegError::NotNeeded)));
        assert_eq!(files.list().unwrap().count(), 2);
    }
}
