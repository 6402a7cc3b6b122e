//! Limits that depend on the machine.

/// The requested number of connections, or fewer if the process may not open enough files for them,
/// its own calls and the store.
pub(super) fn connection_limit(requested: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let allowed = open_files.and_then(|limits| limits.split_whitespace().next()?.parse::<usize>().ok());
    allowed.map_or(requested, |allowed| requested.min((allowed / 2).max(64)))
}
