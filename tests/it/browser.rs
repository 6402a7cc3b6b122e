//! The sandbox's page in a real Chromium: clicked and typed on as customer and as agent, against the real binary.
//!
//! Every tab is closed through [`rig::Tab::close`], which turns red for a console error and for a request that left
//! the loopback. One browser runs at a time: two of them would starve whatever else is being tested.

mod conversation;
mod drills;
mod looks;
mod rig;
mod wire;
