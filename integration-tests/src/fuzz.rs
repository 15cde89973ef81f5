//! Mutation fuzzing with a time budget and a watchdog, the same for every decoder.
//!
//! Inputs are seeds with a few edits each: what a decoder trusts wrongly is nearly always a length,
//! a count or an order, and these are what the edits hit. A panic or an input that takes longer
//! than [`HANG`] fails, with the input printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::worlds::random::Random;

/// What one input may take at most.
const HANG: Duration = Duration::from_secs(3);
/// Longest input that edits grow to, bytes.
const LONGEST: usize = 1 << 16;

/// Runs `decode` on mutants of the seeds for `BRINDLE_FUZZ_SECONDS` (20 unless said), from
/// `BRINDLE_SEED` (1 unless said). `repair` may restore an outer frame after the edits, so that
/// most mutants reach what lies within.
///
/// # Panics
/// A mutant made the decoder panic or hang.
pub fn fuzz(
    what: &str,
    seeds: &[Vec<u8>],
    repair: impl Fn(&mut Random, &mut Vec<u8>),
    decode: impl Fn(&[u8]) + Send + 'static,
) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |v| v.parse().expect("a number"))
    };
    let budget = Duration::from_secs(number("BRINDLE_FUZZ_SECONDS", 20));
    let mut random = Random::new(number("BRINDLE_SEED", 1));
    assert!(seeds.iter().all(|s| !s.is_empty()) && !seeds.is_empty(), "seeds of {what}");

    let current: Arc<Mutex<Vec<u8>>> = Arc::default();
    let taken = Arc::new(AtomicU64::new(0));
    let (inputs, queue) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
    let worker = thread::spawn({
        let (current, taken) = (current.clone(), taken.clone());
        move || {
            for input in queue {
                current.lock().expect("the watchdog does not panic").clone_from(&input);
                taken.fetch_add(1, Ordering::Release);
                if catch_unwind(AssertUnwindSafe(|| decode(&input))).is_err() {
                    return Some(input);
                }
            }
            None
        }
    });

    let end = Instant::now() + budget;
    let (mut seen, mut since) = (0, Instant::now());
    while Instant::now() < end && !worker.is_finished() {
        let mut input = mutant(&mut random, seeds);
        repair(&mut random, &mut input);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = inputs.try_send(input) {
            input = back;
            let now = taken.load(Ordering::Acquire);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let stuck = current.lock().expect("the worker does not hold it in a panic").clone();
            assert!(since.elapsed() < HANG, "{what} hangs on {}", hex(&stuck));
            thread::yield_now();
        }
    }
    drop(inputs);
    let failed = worker.join().expect("the worker catches panics");
    let tried = taken.load(Ordering::Acquire);
    assert!(failed.is_none(), "{what} panics on {}", hex(&failed.unwrap_or_default()));
    assert!(tried > 1000, "only {tried} inputs in {budget:?}: {what} is too slow to fuzz");
    println!("{what}: {tried} inputs");
}

fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(seeds).clone();
    for _ in 0..=random.below(4) {
        edit(random, &mut bytes, seeds);
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn edit(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
        2 => bytes[at] = bytes[at].wrapping_add(*random.pick(&[1, 0xff])),
        3 => bytes.truncate(at),
        4 => bytes.insert(at, random.bits() as u8),
        5 => {
            let end = bytes.len().min(at + 1 + random.below(16));
            bytes.drain(at..end);
        }
        6 => {
            // A part again: duplicate attributes, keys, elements.
            let end = bytes.len().min(at + 1 + random.below(64));
            let part = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
        7 => {
            // A part of another seed.
            let other = random.pick(seeds);
            let from = random.below(other.len());
            let end = other.len().min(from + 1 + random.below(64));
            bytes.splice(at..at, other[from..end].iter().copied());
        }
        _ => {
            let value = *random.pick(&[0u16, 1, 4, 0xff, 0x100, 0x7fff, 0xffff]);
            for (i, byte) in value.to_be_bytes().into_iter().enumerate() {
                if let Some(slot) = bytes.get_mut(at + i) {
                    *slot = byte;
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
