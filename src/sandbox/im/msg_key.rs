//! The MsgKey of a message: `{MsgSeq}_{MsgRandom}_{time}`.

/// Builds the MsgKey of a message.
pub(super) fn key(seq: u32, random: u32, time: i64) -> String {
    format!("{seq}_{random}_{time}")
}

/// Parses a MsgKey into MsgSeq, MsgRandom and time.
pub(super) fn parse_key(key: &str) -> Option<(u32, u32, i64)> {
    let mut parts = key.split('_');
    let parsed = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(parsed)
}
