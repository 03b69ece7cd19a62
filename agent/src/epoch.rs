//! When an epoch ends: after a length of time that a clock which jumps can neither prolong for long nor cut short twice.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rim::{Random, below};

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;

/// What is left of an epoch, and the clock as it was seen. Nothing is derived from the time itself: a jump costs or gives at most
/// one length, however far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EpochTimer {
    /// Microseconds until the epoch ends.
    pub left: i64,
    /// The clock when it was last looked at.
    pub last: i64,
    /// The highest that it showed since somebody trusted said what time it is.
    pub highest: i64,
}

impl EpochTimer {
    /// A new epoch: `length` with a jitter of ±10 %.
    pub(crate) fn start(length: i64, now: i64, random: &dyn Random) -> Result<Self, Error> {
        let left = drawn(length, random)?;
        Ok(Self { left, last: now, highest: now })
    }

    /// Looks at the clock; whether the epoch is over.
    pub(crate) fn look(&mut self, now: i64, length: i64) -> bool {
        // A clock that starts in 1970 and is set later has not run since 1970: time that was counted is not counted again.
        let since = if now >= self.highest { self.highest } else { self.last };
        self.left = self.left.saturating_sub(now.saturating_sub(since).clamp(0, length + length / 5));
        self.last = now;
        self.highest = self.highest.max(now);
        self.left <= 0
    }

    /// Somebody trusted said what the clock should show.
    pub(crate) fn set_right(&mut self, now: i64) {
        if self.highest > now.saturating_add(DAY) {
            self.highest = now;
            self.last = self.last.min(now);
        }
    }

    /// The next epoch, with the same clock.
    pub(crate) fn next(&self, length: i64, random: &dyn Random) -> Result<Self, Error> {
        Ok(Self { left: drawn(length, random)?, ..*self })
    }
}

fn drawn(length: i64, random: &dyn Random) -> Result<i64, Error> {
    let fifth = (length / 5).max(1);
    Ok(length - length / 10 + below(random, fifth as u64)? as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rim::SystemEntropy;

    const LENGTH: i64 = 30 * DAY;
    const YEARS: i64 = 3_650 * DAY;

    /// Runs `days` of real time, looking four times a day at a clock that is off by what `off` says; days on which it switched.
    fn run(days: i64, off: impl Fn(i64) -> i64) -> Vec<i64> {
        let start = 20_000 * DAY;
        let mut timer = EpochTimer::start(LENGTH, start + off(0), &SystemEntropy).unwrap();
        let mut switches = Vec::new();
        for quarter in 0..days * 4 {
            let day = quarter / 4;
            if timer.look(start + quarter * DAY / 4 + off(quarter), LENGTH) {
                timer = timer.next(LENGTH, &SystemEntropy).unwrap();
                switches.push(day);
            }
        }
        switches
    }

    #[test]
    fn an_honest_clock_switches_every_thirty_days_more_or_less() {
        let switches = run(400, |_| 0);
        let gaps: Vec<_> = switches.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.iter().all(|gap| (26..=34).contains(gap)), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap != gaps[0]), "no jitter: {gaps:?}");
    }

    #[test]
    fn a_jump_of_ten_years_costs_at_most_one_epoch_and_stops_none() {
        for (name, off) in [("forward", YEARS), ("backward", -YEARS)] {
            let once = run(400, |quarter| if quarter > 40 { off } else { 0 });
            assert!((11..=15).contains(&once.len()), "{name}: {once:?}");
            let there_and_back = run(400, |quarter| if (40..80).contains(&quarter) { off } else { 0 });
            assert!((11..=15).contains(&there_and_back.len()), "{name}: {there_and_back:?}");
            assert!(there_and_back.windows(2).all(|w| w[1] - w[0] <= 45), "{name}: {there_and_back:?}");
        }
    }

    #[test]
    fn a_machine_without_a_clock_of_its_own_starts_in_1970_each_day() {
        let switches = run(400, |quarter| if quarter % 4 == 0 { -20_000 * DAY } else { 0 });
        assert!((10..=15).contains(&switches.len()), "{switches:?}");
    }

    #[test]
    fn a_service_that_knows_the_time_ends_a_false_future() {
        let mut timer = EpochTimer::start(LENGTH, 100 * DAY, &SystemEntropy).unwrap();
        timer.look(YEARS, LENGTH);
        timer = timer.next(LENGTH, &SystemEntropy).unwrap();
        timer.set_right(101 * DAY);
        assert_eq!((timer.highest, timer.last), (101 * DAY, 101 * DAY));
        let left = timer.left;
        timer.look(0, LENGTH);
        timer.look(102 * DAY, LENGTH);
        assert_eq!(left - timer.left, DAY);
    }
}
