//! Properties that must hold for every input, one module per fuzz target.
//!
//! The targets and the replay of their corpora in `cargo test` (`tests/it/fuzz_corpora.rs`) run the
//! same checks. A check panics if its property does not hold. It computes the expected result by
//! itself, never with the code that it checks.

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
