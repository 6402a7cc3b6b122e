//! A QuickTime video as MP4.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ffmpeg, FfmpegError, MOV, Run};
use crate::media::files::VIDEO;
use crate::media::{FileType, Files};
use crate::model::MediaHash;

/// What comes before the codecs: the first picture track and the first sound track, and no others, since
/// phones add tracks that MP4 cannot have; nothing that tells where and when it was recorded.
const TRACKS: [&str; 8] =
    ["-map", "0:v:0", "-map", "0:a:0?", "-map_metadata", "-1", "-movflags", "+faststart"];
/// The codecs of each attempt, and its time limit in seconds: everything as it is; another sound; all
/// anew, if the machine's ffmpeg can.
const ATTEMPTS: [(&[&str], u64); 3] = [
    (&["-c", "copy"], 20),
    (&["-c:v", "copy", "-c:a", "aac", "-b:a", "96k"], 30),
    (
        &[
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-pix_fmt",
            "yuv420p",
            "-vf",
            "scale=trunc(iw/2)*2:trunc(ih/2)*2",
            "-c:a",
            "aac",
            "-b:a",
            "96k",
        ],
        60,
    ),
];

impl Ffmpeg {
    /// Turns the QuickTime video `original` into an MP4 of less than `max_bytes`, which is kept and
    /// removed with its original. Returns its path and its size in bytes; the earlier result if there is
    /// one.
    pub async fn to_mp4(
        &self,
        files: &Files,
        original: &MediaHash,
        max_bytes: u64,
    ) -> Result<(PathBuf, u64), FfmpegError> {
        if let Some(found) = files.find_derived(original, VIDEO).await {
            return Ok(found);
        }
        let mut last = FfmpegError::NotNeeded;
        for (codecs, seconds) in ATTEMPTS {
            let output = [&TRACKS[..], codecs].concat();
            let timeout = Duration::from_secs(seconds);
            let run = Run { container: MOV, output: &output, muxer: "mp4", max_bytes, timeout };
            match self.run(files, original, run).await {
                Ok(scratch) if scratch.kind().await == Some(FileType::Mp4) => {
                    return files.adopt_derived(original, VIDEO, scratch).await?.ok_or(FfmpegError::Lost);
                }
                Ok(_) => last = FfmpegError::Failed,
                // Another codec cannot help.
                Err(error @ (FfmpegError::TooLarge(_) | FfmpegError::Start(_))) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
