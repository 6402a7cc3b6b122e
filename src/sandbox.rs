//! Both platforms, simulated as strictly as their references allow, over real HTTP on loopback.
//!
//! The simulations share no code with the bridge that they test. They sign, verify and encrypt with
//! code of their own, which is tested against the vendors' vectors. So they cannot repeat a mistake
//! of the bridge.

pub mod fault;
pub mod im;
pub mod serve;
pub mod wechat;
pub mod stage;
pub mod script;
pub mod child;
pub mod wire;
pub mod session;
pub mod drill;
pub mod page_server;
