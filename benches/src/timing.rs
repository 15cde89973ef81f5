//! Wall-clock time.

use std::time::Instant;

/// Milliseconds that something takes, and what comes of it.
///
/// # Errors
/// Its own.
pub fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<(f64, T), E> {
    let start = Instant::now();
    let result = run()?;
    Ok((start.elapsed().as_secs_f64() * 1e3, result))
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
