//! Time comes in as an argument, so that tests can set it.

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Microseconds since 1970-01-01 UTC.
    fn now(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_microsecond().saturating_add(moved())
    }
}

/// Microseconds by which a test of whole processes moves the clock: `FAILPOINT_CLOCK_DAYS`, where failpoints are built in.
#[cfg(feature = "failpoints")]
fn moved() -> i64 {
    static MOVED: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *MOVED.get_or_init(|| {
        let days: Option<i64> = std::env::var("FAILPOINT_CLOCK_DAYS").ok().and_then(|days| days.parse().ok());
        days.unwrap_or(0).saturating_mul(86_400_000_000)
    })
}

#[cfg(not(feature = "failpoints"))]
const fn moved() -> i64 {
    0
}
