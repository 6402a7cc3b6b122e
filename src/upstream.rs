//! What every outside API needs: a rate limit, a circuit breaker, a backoff, and its health.
//!
//! Nothing here names a platform or knows a message.

/// The wait before the next attempt.
pub mod backoff;
/// The circuit breaker.
pub mod breaker;
/// The health that operators see.
pub mod health;
/// The rate limits.
pub mod rate_limit;

pub use backoff::delay_ms;
pub use breaker::Breaker;
pub use health::{Degraded, Health};
pub use rate_limit::RateLimiter;
