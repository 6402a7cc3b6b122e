//! Names of keys and sections in texts for operators: which of them are safe to show, and which known name is the most
//! similar. A name that is not known may be a misplaced secret.

use super::keys::SECTIONS;

/// Returns an unknown name if it is safe to show. A name unlike any known one may be a value
/// whose key is missing.
pub(super) fn name_if_safe(name: &str) -> Option<&str> {
    let is_harmless =
        name.len() <= 30 && name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'));
    let is_misspelt = || name.bytes().all(|byte| byte.is_ascii_graphic()) && best_similarity(name) > 0.7;
    (is_harmless || is_misspelt()).then_some(name)
}

/// The similarity to the most similar known name, from 0 to 1.
fn best_similarity(name: &str) -> f64 {
    if name.len() > 100 {
        return 0.0;
    }
    let score = |known: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), known);
    SECTIONS
        .iter()
        .flat_map(|section| std::iter::once(section.name).chain(section.keys.iter().map(|key| key.name)))
        .map(score)
        .fold(0.0, f64::max)
}

/// The most similar known name.
pub(super) fn nearest_name(name: &str, known: impl Iterator<Item = String>) -> String {
    // No known name is nearly as long, and the comparison takes time and memory in proportion to
    // the length.
    let name: String = name.chars().take(100).collect::<String>().to_lowercase();
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase()), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or_else(String::new, |(_, known)| known)
}

/// The full key of a free name if it is safe to show, else its section: a name with digits may be a value whose key is
/// missing.
pub(super) fn shown_key(full_key: &str) -> &str {
    let is_harmless = |name: &str| name.chars().all(|c| c.is_alphabetic() || matches!(c, '_' | '-'));
    match full_key.split_once('.') {
        Some((section, name)) if !is_harmless(name) => section,
        _ => full_key,
    }
}
