//! What every outside API needs: a rate limit, a circuit breaker, a backoff, and its health.
//!
//! Nothing here names a platform or knows a message. [`paced`] joins the rate limit with the
//! metrics, so that every call waits, is timed and is counted in the same way.

mod backoff;
mod breaker;
mod health;
mod pace;
mod rate_limit;

pub use backoff::delay_ms;
pub use breaker::Breaker;
pub use health::{Degraded, Health};
pub use pace::{ApiLabel, CallReport, paced};
pub use rate_limit::RateLimiter;
