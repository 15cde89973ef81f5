//! Time as a parameter: instants, deadlines and seeded jitter.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A point in time: monotonic, counted from when the driver started. Nothing in this crate reads a
/// clock, so a recorded session replays exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The point this long after the start.
    pub const fn since_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the start.
    pub const fn elapsed(self) -> Duration {
        self.0
    }

    /// From `earlier` to here; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// The timers of one connection (RFC 4271 §8.1.3, RFC 9687).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Next attempt to connect.
    ConnectRetry,
    /// The neighbour has been silent too long.
    Hold,
    /// Next KEEPALIVE.
    Keepalive,
    /// Nothing could be written for too long.
    SendHold,
}

impl Timer {
    /// Every timer, in the order in which timers that are due together fire.
    pub const ALL: [Self; 4] = [Self::Hold, Self::SendHold, Self::Keepalive, Self::ConnectRetry];

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectRetry => "connect retry",
            Self::Hold => "hold",
            Self::Keepalive => "keepalive",
            Self::SendHold => "send hold",
        }
    }
}

/// The deadlines of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers([Option<Time>; 4]);

impl Timers {
    /// Starts or restarts a timer.
    pub fn start(&mut self, timer: Timer, deadline: Time) {
        self.0[timer as usize] = Some(deadline);
    }

    /// Stops a timer.
    pub fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops all.
    pub fn stop_all(&mut self) {
        self.0 = [None; 4];
    }

    /// When a timer fires, if it runs.
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// The earliest deadline with its timer.
    pub fn next(&self) -> Option<(Time, Timer)> {
        Timer::ALL.iter().filter_map(|&t| Some((self.deadline(t)?, t))).min_by_key(|(at, _)| *at)
    }

    /// Stops and returns a timer that is due.
    pub fn expire(&mut self, now: Time) -> Option<Timer> {
        let (deadline, timer) = self.next()?;
        (deadline <= now).then(|| {
            self.stop(timer);
            timer
        })
    }
}

/// Jitter for timers (RFC 4271 §10: a factor between 0.75 and 1.0), from a seed: SplitMix64, which
/// is plenty for spreading reconnects and keeps a replay exact.
#[derive(Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// A source with this seed; different nodes must use different seeds.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `full` times a factor between 0.75 and 1.0.
    pub fn apply(&mut self, full: Duration) -> Duration {
        let steps = u32::try_from(self.next() % 1_001).unwrap_or(0);
        full * (3_000 + steps) / 4_000
    }

    /// Between zero and `full`.
    pub fn below(&mut self, full: Duration) -> Duration {
        let steps = u32::try_from(self.next() % 1_001).unwrap_or(0);
        full * steps / 1_000
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_three_quarters_and_one() {
        let mut jitter = Jitter::new(7);
        let full = Duration::from_secs(4);
        let drawn: Vec<_> = (0..1000).map(|_| jitter.apply(full)).collect();
        assert!(drawn.iter().all(|d| (Duration::from_secs(3)..=full).contains(d)));
        assert!(drawn.iter().max() > drawn.iter().min());
    }

    #[test]
    fn due_timers_fire_once_earliest_first() {
        let at = |s| Time::since_start(Duration::from_secs(s));
        let mut timers = Timers::default();
        timers.start(Timer::Keepalive, at(3));
        timers.start(Timer::Hold, at(9));
        timers.start(Timer::ConnectRetry, at(1));
        timers.stop(Timer::ConnectRetry);
        assert_eq!(timers.expire(at(2)), None);
        assert_eq!(timers.expire(at(9)), Some(Timer::Keepalive));
        assert_eq!(timers.expire(at(9)), Some(Timer::Hold));
        assert_eq!(timers.next(), None);
    }
}
