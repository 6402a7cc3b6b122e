//! The wait before the next attempt: half a second, doubling to a minute, with full jitter. Pure.

/// The longest wait after the first attempt, milliseconds.
const FIRST_MS: u64 = 500;
/// The longest wait after any attempt, milliseconds.
const LONGEST_MS: u64 = 60_000;

/// The wait after `attempts` attempts, milliseconds; `random` selects a value within its range.
pub fn delay_ms(attempts: u32, random: u32) -> i64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let longest = (FIRST_MS << doublings).min(LONGEST_MS);
    // Full jitter: any wait up to the longest, so that messages that failed together do not retry
    // together.
    let wait = u64::from(random) * longest / u64::from(u32::MAX);
    i64::try_from(wait.max(1)).unwrap_or(i64::MAX)
}

/// The same with little jitter: never less than three quarters of the longest wait. For calls whose
/// number within a time is limited.
pub fn steady_delay_ms(attempts: u32, random: u32) -> i64 {
    let longest = delay_ms(attempts, u32::MAX);
    longest - longest / 4 + delay_ms(attempts, random) / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_wait_is_bounded_and_its_bound_doubles(attempts in 0_u32..1_000, random in any::<u32>()) {
            let wait = delay_ms(attempts, random);
            prop_assert!((1..=60_000).contains(&wait));
            prop_assert!(wait <= delay_ms(attempts, u32::MAX));
            prop_assert!(delay_ms(attempts, u32::MAX) <= delay_ms(attempts + 1, u32::MAX));
        }
    }

    #[test]
    fn the_steady_wait_begins_at_three_quarters() {
        for attempts in 1..12 {
            let longest = delay_ms(attempts, u32::MAX);
            assert!((longest * 3 / 4..=longest * 3 / 4 + 1).contains(&steady_delay_ms(attempts, 0)));
            assert!((longest - 1..=longest).contains(&steady_delay_ms(attempts, u32::MAX)));
        }
    }

    #[test]
    fn the_upper_bounds_double_up_to_a_minute() {
        let bounds: Vec<i64> = (1..=9).map(|attempts| delay_ms(attempts, u32::MAX)).collect();
        assert_eq!(bounds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }
}
