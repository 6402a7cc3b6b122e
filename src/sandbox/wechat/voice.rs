//! The length of an uploaded recording, counted frame by frame.

/// The length in milliseconds; `None` if the file is not AMR or MP3 from its first frame to its last.
pub(super) fn length_ms(bytes: &[u8]) -> Option<u64> {
    match bytes.strip_prefix(b"#!AMR\n") {
        Some(frames) => amr_ms(frames),
        None => mp3_ms(bytes),
    }
}

/// Every frame of AMR lasts 20 ms. Its first byte tells its mode, which tells its size.
fn amr_ms(mut frames: &[u8]) -> Option<u64> {
    let mut count = 0;
    while let Some(first) = frames.first() {
        let size = match first >> 3 & 15 {
            mode @ 0..=7 => [13, 14, 16, 18, 20, 21, 27, 32][usize::from(mode)],
            8 => 6,
            15 => 1,
            _ => return None,
        };
        frames = frames.get(size..).unwrap_or_default();
        count += 1;
    }
    Some(count * 20)
}

fn mp3_ms(bytes: &[u8]) -> Option<u64> {
    let mut at = 0;
    if bytes.starts_with(b"ID3") {
        let size = bytes.get(6..10)?.iter().fold(0, |size, digit| size * 128 + usize::from(*digit));
        at = 10 + size;
    }
    let mut microseconds = 0;
    // Whatever is no frame is skipped, as a decoder does.
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= 4) {
        match mp3_frame(rest) {
            Some((size, length)) => {
                microseconds += length;
                at += size;
            }
            None => at += 1,
        }
    }
    (microseconds > 0).then_some(microseconds / 1_000)
}

/// The size of a frame in bytes, and its length in microseconds.
fn mp3_frame(bytes: &[u8]) -> Option<(usize, u64)> {
    let &[0xff, second, third, ..] = bytes else { return None };
    let version = second >> 3 & 3;
    let rate = usize::from(third >> 4);
    if second >> 5 != 7 || second >> 1 & 3 != 1 || version == 1 || rate == 0 || rate == 15 {
        return None;
    }
    let base: u64 = [44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3)).copied()?;
    let (kbps, samples): (u64, u64) = if version == 3 {
        ([32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320][rate - 1], 1152)
    } else {
        ([8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160][rate - 1], 576)
    };
    let hertz = match version {
        3 => base,
        2 => base / 2,
        _ => base / 4,
    };
    let size = usize::try_from(samples * kbps * 125 / hertz + u64::from(third >> 1 & 1)).ok()?;
    Some((size, samples * 1_000_000 / hertz))
}
