//! What every outside API needs: a rate limit, a circuit breaker, a backoff, its health, and its
//! clock.
//!
//! Nothing here names a platform or knows a message. [`paced`] joins the rate limit with the
//! metrics, so that every call waits, is timed and is counted in the same way.

mod backoff;
mod breaker;
mod health;
mod leased_body;
mod inbound;
mod pace;
mod rate_limit;
mod server_time;

pub use backoff::{delay_ms, steady_delay_ms};
pub use breaker::Breaker;
pub use health::{Degraded, Evidence, Fault, Health};
pub use inbound::{InboundHealth, Refused};
pub use leased_body::{is_lease_over, leased};
pub use pace::{ApiLabel, CallReport, paced};
pub use rate_limit::RateLimiter;
#[cfg(test)]
pub(crate) use server_time::without_date;
pub use server_time::{measure, observe_date};
