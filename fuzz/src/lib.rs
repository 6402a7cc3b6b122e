//! What must hold for every input, one module a fuzz target.
//!
//! The targets and the replay of their corpora in `cargo test` (`tests/it/fuzz_corpora.rs`) run the same checks.
//! A check panics when its property does not hold, and judges with means of its own: never with the code it checks.

pub mod account;
pub mod callback;
pub mod configuration;
pub mod envelope;
pub mod reply;
pub mod splitter;
pub mod xml;

/// A check of one input.
pub type Check = fn(&[u8]);

/// Every target with its check.
pub const TARGETS: [(&str, Check); 6] = [
    ("xml", xml::check),
    ("envelope", envelope::check),
    ("callback", callback::check),
    ("reply", reply::check),
    ("splitter", splitter::check),
    ("configuration", configuration::check),
];
