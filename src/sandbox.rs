//! Both platforms, simulated as strictly as their references allow, over real HTTP on loopback.
//!
//! The simulations share no code with the bridge they test: they sign, verify and encrypt by themselves,
//! held against the vendors' own vectors, so that they cannot agree with a mistake of ours.

pub mod fault;
pub mod im;
pub mod serve;
pub mod wechat;
pub mod stage;
pub mod script;
pub mod child;
pub mod wire;
pub mod live;
pub mod drill;
pub mod page_server;
