//! An agent's recording as a voice message: an MP3 of one channel, at most a minute long.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ffmpeg, FfmpegError, Run, demuxer};
use crate::media::files::VOICE;
use crate::media::{FileType, Files, duration};
use crate::model::MediaHash;

/// The longest voice message, in milliseconds.
pub const MAX_VOICE_MS: u64 = 60_000;
/// A longer recording, up to this many milliseconds, is played a little faster (at most 5 %), so that it
/// fits: clients stop recording at a minute, and encoders add some silence.
const MAX_SQUEEZED_MS: u64 = 62_500;
/// The length of such a recording afterwards, in milliseconds.
const SQUEEZED_MS: u64 = 59_500;
/// No more than this is converted, in seconds, so that a long recording costs no more than a short one.
const CUT_S: &str = "64";
/// The largest MP3, in bytes: twice of what the bit rate and [`CUT_S`] allow.
const MAX_BYTES: u64 = 512 * 1024;
/// The time limit of one child process.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Ffmpeg {
    /// Converts the recording `original`, a file of type `kind`, to an MP3 of one channel and at most
    /// [`MAX_VOICE_MS`], which is kept and removed with its original. Returns its path and its size in
    /// bytes; the earlier result if there is one.
    pub async fn to_voice(
        &self,
        files: &Files,
        original: &MediaHash,
        kind: FileType,
    ) -> Result<(PathBuf, u64), FfmpegError> {
        let container = demuxer(kind).ok_or(FfmpegError::NotNeeded)?;
        if let Some(found) = files.find_derived(original, VOICE).await {
            return Ok(found);
        }
        let (mut tempo, mut squeezed) = (String::new(), false);
        loop {
            let mut output = vec!["-vn", "-sn", "-dn", "-map_metadata", "-1", "-ac", "1", "-ar", "16000"];
            output.extend(["-b:a", "32k", "-t", CUT_S]);
            if squeezed {
                output.extend(["-filter:a", &tempo]);
            }
            let run =
                Run { container, output: &output, muxer: "mp3", max_bytes: MAX_BYTES, timeout: TIMEOUT };
            let scratch = self.run(files, original, run).await?;
            let mp3 = tokio::fs::read(scratch.path()).await.map_err(FfmpegError::Start)?;
            let is_mp3 = FileType::detect(&mp3) == FileType::Mp3;
            let length_ms = duration::milliseconds(&mp3).filter(|_| is_mp3).ok_or(FfmpegError::Failed)?;
            match length_ms {
                0..=MAX_VOICE_MS => {
                    return files.adopt_derived(original, VOICE, scratch).await?.ok_or(FfmpegError::Lost);
                }
                ..=MAX_SQUEEZED_MS if !squeezed => {
                    tempo = format!("atempo={}.{:03}", length_ms / SQUEEZED_MS, {
                        // Rounded up, so that the result is not longer than intended.
                        (length_ms % SQUEEZED_MS * 1_000).div_ceil(SQUEEZED_MS)
                    });
                    squeezed = true;
                }
                _ => return Err(FfmpegError::TooLong),
            }
        }
    }
}
