//! Several instances on one PostgreSQL behind nginx: the real binary, the database and the load balancer. Instances are
//! killed, paused, cut off and replaced. The oracle of the crash tests compares the platforms' ledgers with what was
//! accepted.
#![expect(clippy::print_stdout, reason = "the measured figures are a result of these tests")]

mod doors;
mod kills;
mod limits;
mod line;
mod load;
mod pauses;
mod points;
mod proxy;
mod rig;
mod rolling;
mod standby;
