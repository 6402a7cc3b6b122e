//! Every test that drives the bridge from outside.
