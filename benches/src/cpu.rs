//! Time of one thread, so that what others do on the machine does not count.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time that this thread has had.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("every thread has a clock of its own").into()
}

/// Runs something; its result, and the processor time that it took.
pub fn time<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let started = now();
    let result = run();
    (result, now() - started)
}
