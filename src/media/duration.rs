//! Measures how long a recording is by counting its frames, and reads how long a video is from its
//! header.

use std::io::{Read, Seek, SeekFrom};

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

/// The size of the tag behind an MP3's last frame (ID3v1), in bytes.
const MAX_TAG_BYTES: usize = 128;

/// A frame's size in bytes and its duration in microseconds.
type Frame = (usize, u64);
/// Reads the next frame of a recording.
type ReadFrame = fn(&[u8]) -> Option<Frame>;

/// Returns the length of a recording in whole seconds, at least one; `None` if its frames cannot be
/// counted.
pub fn seconds(recording: &[u8]) -> Option<u64> {
    milliseconds(recording).map(|ms| ((ms + 500) / 1_000).max(1))
}

/// Returns the length of a recording in milliseconds; `None` if its frames cannot be counted.
pub fn milliseconds(recording: &[u8]) -> Option<u64> {
    count(recording).map(|(ms, _)| ms)
}

/// Returns the length of a recording in milliseconds if nothing but a short tag follows its last frame;
/// `None` if its frames cannot be counted to its end.
pub fn whole_milliseconds(recording: &[u8]) -> Option<u64> {
    count(recording).filter(|(_, rest)| *rest <= MAX_TAG_BYTES).map(|(ms, _)| ms)
}

/// Counts frames up to the first byte that begins none. Returns the milliseconds and how many bytes are
/// left.
fn count(recording: &[u8]) -> Option<(u64, usize)> {
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
    (microseconds > 0).then_some((microseconds / 1_000, rest.len()))
}

/// The most parts of an MP4 file that are looked at on each level.
const MAX_BOXES: usize = 64;

/// Returns the length in whole seconds, at least one, that the header (`mvhd`) of an MP4 or QuickTime
/// file tells; `None` if it tells none. Reads a few bytes of each part only.
pub fn mp4_seconds(mut file: impl Read + Seek) -> Option<u64> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let (moov, moov_end) = find_box(&mut file, *b"moov", 0, end)?;
    let (header, _) = find_box(&mut file, *b"mvhd", moov, moov_end)?;
    file.seek(SeekFrom::Start(header)).ok()?;
    let mut bytes = [0; 32];
    file.read_exact(&mut bytes).ok()?;
    let short = |at: usize| Some(u64::from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
    let long = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    // Behind the version and the flags stand two times, the time scale and the duration.
    let (scale, duration, unknown) = match bytes[0] {
        0 => (short(12)?, short(16)?, u64::from(u32::MAX)),
        1 => (short(20)?, long(24)?, u64::MAX),
        _ => return None,
    };
    if scale == 0 || duration == 0 || duration == unknown {
        return None;
    }
    Some((duration / scale + u64::from(duration % scale * 2 >= scale)).max(1))
}

/// Finds a part by its name between two positions. Returns the positions of its content.
fn find_box(file: &mut (impl Read + Seek), name: [u8; 4], from: u64, to: u64) -> Option<(u64, u64)> {
    let mut at = from;
    for _ in 0..MAX_BOXES {
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut head = [0; 8];
        file.read_exact(&mut head).ok()?;
        let [a, b, c, d, found @ ..] = head;
        let mut content = at + 8;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            0 => to.checked_sub(at)?,
            1 => {
                let mut size = [0; 8];
                file.read_exact(&mut size).ok()?;
                content += 8;
                u64::from_be_bytes(size)
            }
            size => u64::from(size),
        };
        let next = at.checked_add(size).filter(|next| *next >= content && *next <= to)?;
        if found == name {
            return Some((content, next));
        }
        at = next;
    }
    None
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
        let followed = |by: &[u8]| whole_milliseconds(&[&tag[..], &frame.repeat(100), by].concat());
        assert_eq!((followed(&[0; 128]), followed(&[0; 129])), (Some(7_200), None));
        for not_a_recording in [&b"#!AMR\n"[..], b"ID3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f", b"OggS", b""] {
            assert_eq!(seconds(not_a_recording), None);
        }
    }

    fn mp4(parts: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let size = |body: &[u8]| u32::try_from(8 + body.len()).unwrap().to_be_bytes();
        parts.iter().flat_map(|(name, body)| [&size(body)[..], &name[..], body].concat()).collect()
    }

    /// A header in which the length stands where that version has it, and 7 everywhere else.
    fn mvhd(version: u8, scale: u32, duration: u64) -> Vec<u8> {
        let mut header = vec![7; 108];
        header[0] = version;
        let at = if version == 0 { 12 } else { 20 };
        header[at..at + 4].copy_from_slice(&scale.to_be_bytes());
        let duration = duration.to_be_bytes();
        let duration = if version == 0 { &duration[4..] } else { &duration };
        header[at + 4..at + 4 + duration.len()].copy_from_slice(duration);
        header
    }

    #[test]
    fn the_length_of_a_video_is_read_from_its_header() {
        let read = |bytes: Vec<u8>| mp4_seconds(std::io::Cursor::new(bytes));
        for (version, scale, duration, expected) in [
            (0, 600, 600 * 83 + 300, Some(84)),
            (0, 1_000, 1_499, Some(1)),
            (0, 1_000, 40, Some(1)),
            (1, 90_000, 90_000 * 70_000, Some(70_000)),
            (0, 0, 5, None),
            (0, 600, 0, None),
            (0, 600, u64::from(u32::MAX), None),
            (2, 600, 600, None),
        ] {
            let moov = mp4(&[(b"udta", vec![1; 9]), (b"mvhd", mvhd(version, scale, duration))]);
            let file = mp4(&[(b"ftyp", b"isom".to_vec()), (b"mdat", vec![0; 99]), (b"moov", moov)]);
            assert_eq!(read(file.clone()), expected, "{version} {scale} {duration}");
            assert_eq!(read(file[..file.len() - 90].to_vec()), None);
        }
        for broken in [
            &b""[..],
            b"\0\0\0\x08ftyp",
            b"\0\0\0\x07moov",
            b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(read(broken.to_vec()), None);
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
            let moov = mp4(&[(b"moov", mp4(&[(b"mvhd", rest.clone())]))]);
            let _ = (mp4_seconds(std::io::Cursor::new(moov)), mp4_seconds(std::io::Cursor::new(rest)));
        }
    }
}
