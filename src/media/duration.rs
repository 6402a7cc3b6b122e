//! Measures how long a recording is by counting its frames.

use super::FileType;

/// Bytes of an AMR frame after its first byte, by frame type. Types beyond the table have no more
/// bytes.
const AMR_FRAME_BYTES: [usize; 9] = [12, 13, 15, 17, 19, 20, 26, 31, 5];
/// The same for AMR-WB.
const AMR_WB_FRAME_BYTES: [usize; 10] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5];
/// Bit rates of MPEG audio layer III in kbit/s, by the header's index: for MPEG-1, and for MPEG-2
/// and MPEG-2.5.
const MPEG_1_KBPS: [usize; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
const MPEG_2_KBPS: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];

/// A frame's size in bytes and its duration in microseconds.
type Frame = (usize, u64);
/// Reads the next frame of a recording.
type ReadFrame = fn(&[u8]) -> Option<Frame>;

/// Returns the length of a recording in whole seconds, at least one; `None` if its frames cannot be
/// counted.
pub fn seconds(recording: &[u8]) -> Option<u64> {
    let (header_len, read_frame): (usize, ReadFrame) = match FileType::detect(recording) {
        FileType::Amr => (b"#!AMR\n".len(), |rest| read_amr_frame(&AMR_FRAME_BYTES, rest)),
        FileType::AmrWb => (b"#!AMR-WB\n".len(), |rest| read_amr_frame(&AMR_WB_FRAME_BYTES, rest)),
        FileType::Mp3 => (id3_len(recording), read_mp3_frame),
        _ => return None,
    };
    let mut rest = recording.get(header_len..)?;
    let mut microseconds = 0;
    while let Some((bytes, duration_us)) = read_frame(rest) {
        microseconds += duration_us;
        rest = rest.get(bytes..).unwrap_or_default();
    }
    (microseconds > 0).then(|| ((microseconds + 500_000) / 1_000_000).max(1))
}

fn read_amr_frame(sizes: &[usize], rest: &[u8]) -> Option<Frame> {
    let kind = usize::from(*rest.first()? >> 3 & 0x0f);
    Some((1 + sizes.get(kind).copied().unwrap_or(0), 20_000))
}

/// Returns the size in bytes of the ID3 tag before an MP3's first frame.
fn id3_len(recording: &[u8]) -> usize {
    let [b'I', b'D', b'3', _, _, _, size @ ..] = recording else { return 0 };
    let digits = size.iter().take(4);
    10 + digits.fold(0, |size, digit| size << 7 | usize::from(*digit & 0x7f))
}

fn read_mp3_frame(rest: &[u8]) -> Option<Frame> {
    let [0xff, second, third, ..] = *rest else { return None };
    // A frame begins with the sync bits, followed by the bits of layer III.
    if second & 0xe6 != 0xe2 {
        return None;
    }
    let (rates, samples, hertz): (_, _, [usize; 3]) = match second >> 3 & 3 {
        3 => (&MPEG_1_KBPS, 1152, [44_100, 48_000, 32_000]),
        2 => (&MPEG_2_KBPS, 576, [22_050, 24_000, 16_000]),
        0 => (&MPEG_2_KBPS, 576, [11_025, 12_000, 8_000]),
        _ => return None,
    };
    let hertz = *hertz.get(usize::from(third >> 2 & 3))?;
    let rate = *rates.get(usize::from(third >> 4)).filter(|rate| **rate > 0)?;
    let bytes = samples / 8 * rate * 1_000 / hertz + usize::from(third >> 1 & 1);
    Some((bytes, samples as u64 * 1_000_000 / hertz as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_counted() {
        // Frames with twelve, five and no bytes of data.
        let frames = [[&[0x04][..], &[0; 12]].concat(), [&[0x44][..], &[0; 5]].concat(), vec![0x7c]];
        let recording = [b"#!AMR\n".to_vec(), frames.concat().repeat(100)].concat();
        assert_eq!(seconds(&recording), Some(6));
        assert_eq!(seconds(b"#!AMR\n\x3c"), Some(1), "the shortest length");
        // MPEG-2.5, 32 kbit/s, 8 kHz: 288 bytes and 72 ms a frame.
        let frame = [&[0xff, 0xe3, 0x48, 0xc4][..], &[0; 284]].concat();
        let tag = b"ID3\x04\0\0\0\0\0\x03abc";
        assert_eq!(seconds(&[&tag[..], &frame.repeat(100)].concat()), Some(7));
        for not_a_recording in [&b"#!AMR\n"[..], b"ID3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f", b"OggS", b""] {
            assert_eq!(seconds(not_a_recording), None);
        }
    }

    const MAGIC: [&[u8]; 5] = [b"#!AMR\n", b"#!AMR-WB\n", b"ID3", b"\xff\xfb\x90\x64", b""];

    proptest! {
        #[test]
        fn any_bytes_have_a_duration_or_none(
            magic in prop::sample::select(&MAGIC[..]),
            rest in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = seconds(&[magic, &rest].concat());
        }
    }
}
