//! Mutated messages: no panic, no hang, and what was accepted can be said again.
//!
//! `BRINDLE_FUZZ_SECONDS` (2 unless said) is the time for each of the two sessions.

#![expect(
    clippy::disallowed_methods,
    reason = "a watchdog needs a clock; what it watches has none"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::{EncodeError, encode};
use brindle_bgp_proto::message::Message;
use brindle_bgp_proto::negotiated::Negotiated;

use crate::wire::*;

/// One decode may take this long at most.
const HANG: Duration = Duration::from_secs(3);

/// A small generator (xorshift64*): a run is named by its seed.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn octet(&mut self) -> u8 {
        // Edges more often than the rest.
        match self.below(4) {
            0 => [0, 1, 4, 16, 32, 33, 127, 128, 129, 254, 255][self.below(11)],
            _ => self.next().to_be_bytes()[0],
        }
    }
}

/// Messages of every type, with every attribute and capability that we read.
pub fn seeds() -> Vec<Vec<u8>> {
    let open = |parameters: &[u8]| {
        message(1, &[&[4, 0x5b, 0xa0, 0, 90, 192, 0, 2, 1], parameters].concat())
    };
    let capabilities = [
        1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 5, 6, 0, 1, 0, 1, 0, 2, 6, 0, 9, 1, 3, 64, 10,
        0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0, 65, 4, 0, 1, 0, 0, 69, 4, 0, 1, 1, 3, 70, 0, 71, 7,
        0, 1, 1, 0x80, 0, 1, 0, 73, 8, 4, b'n', b'o', b'd', b'e', 2, b'x', b'y',
    ];
    let len = u8::try_from(capabilities.len()).expect("short");
    let extended = [&[255, 255, 0, len + 3, 2, 0, len], &capabilities[..]].concat();
    let base = || vec![origin(), as_path(), next_hop()];
    let full = [
        mp_reach(),
        mp_unreach(),
        origin(),
        attribute(WELL_KNOWN, 2, &[sequence(&[PEER_AS, 1, 2]), vec![1, 1, 0, 0, 0, 9]].concat()),
        next_hop(),
        attribute(OPTIONAL, 4, &[0, 0, 0, 1]),
        attribute(WELL_KNOWN, 5, &[0, 0, 0, 100]),
        attribute(WELL_KNOWN, 6, &[]),
        attribute(TRANSITIVE, 7, &[0, 0, 0xfd, 0xe8, 1, 2, 3, 4]),
        attribute(TRANSITIVE, 8, &[0xff, 0xff, 0xff, 1, 0, 1, 0, 2]),
        attribute(OPTIONAL, 9, &[1, 1, 1, 1]),
        attribute(OPTIONAL, 10, &[1, 1, 1, 1, 2, 2, 2, 2]),
        attribute(TRANSITIVE, 16, &[0, 2, 0, 1, 0, 0, 0, 1]),
        attribute(TRANSITIVE, 17, &sequence(&[70_000])),
        attribute(TRANSITIVE, 18, &[0, 1, 0x11, 0x70, 9, 9, 9, 9]),
        attribute(TRANSITIVE, 23, &[0, 1, 0, 4, 1, 2, 3, 4]),
        attribute(TRANSITIVE, 32, &[1; 24]),
        attribute(TRANSITIVE, 35, &[0, 0, 0, 7]),
        attribute(TRANSITIVE, 200, &[5; 300]),
    ];
    let ipv4_by_ipv6 = {
        let mut value = vec![0, 1, 1, 32, 0x20, 1];
        value.extend([1; 14]);
        value.extend([0xfe, 0x80]);
        value.extend([1; 14]);
        value.extend([0, 26, 10, 1, 2, 64]);
        attribute(OPTIONAL, 14, &value)
    };
    vec![
        open(&[0]),
        open(&[&[len + 2, 2, len], &capabilities[..]].concat()),
        open(&extended),
        update(&[], &[], &[]),
        update(&[], &[attribute(OPTIONAL, 15, &[0, 2, 1])], &[]),
        update(&[16, 10, 2, 32, 10, 3, 4, 5], &[], &[]),
        update(&[], &base(), &[0, 8, 10, 16, 10, 1, 24, 10, 1, 1, 32, 10, 1, 1, 1]),
        update(&[8, 11], &full, &NLRI),
        update(&[], &[ipv4_by_ipv6, origin(), as_path()], &[]),
        message(3, &[6, 2, 5, b'h', b'e', b'l', b'l', b'o']),
        message(3, &[2, 7, 1, 4, 0, 1, 0, 1]),
        message(4, &[]),
        message(5, &[0, 1, 0, 1]),
        message(5, &[0, 2, 1, 1]),
    ]
}

/// One to four edits; most keep the header's length true, or nothing behind it were reached.
pub fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut octets = seed.to_vec();
    for _ in 0..=random.below(4) {
        let body = octets.len().saturating_sub(18);
        let at = (18 + random.below(body)).min(octets.len() - 1);
        match random.below(7) {
            0 => octets[at] ^= 1 << random.below(8),
            1 => octets[at] = octets[at].wrapping_add(1),
            2 => octets[at] = octets[at].wrapping_sub(1),
            3 => octets.truncate(at.max(19)),
            4 => octets.insert(at, random.octet()),
            5 if octets.len() > 19 => {
                octets.remove(at);
            }
            _ => octets[at] = random.octet(),
        }
    }
    if random.below(20) > 0 {
        let len = u16::try_from(octets.len()).expect("short");
        octets[16..18].copy_from_slice(&len.to_be_bytes());
    }
    octets
}

/// Decodes; what is accepted must encode, and decode as the same again.
fn check(octets: &[u8], session: &Negotiated) {
    if !matches!(frame(octets, session), Ok(Some(len)) if len == octets.len()) {
        return;
    }
    let Ok(decoded) = decode(octets, session) else { return };
    let mut encoded = Vec::new();
    match encode(&decoded, session, &mut encoded) {
        Ok(()) => {}
        Err(EncodeError::AttributesTooLong { .. }) => return,
        Err(error) => panic!("decoded, but: {error}"),
    }
    let mut rest = &encoded[..];
    let mut again = Vec::new();
    while !rest.is_empty() {
        let len = frame(rest, session).expect("our header").expect("whole");
        again.push(decode(&rest[..len], session).expect("our own message"));
        rest = &rest[len..];
    }
    match decoded {
        Message::Update(update) => {
            let prefixes = |message: &Message| match message {
                Message::Update(u) => {
                    u.withdrawn.len() + u.reach.iter().map(|r| r.prefixes.len()).sum::<usize>()
                }
                other => panic!("an UPDATE became {other:?}"),
            };
            let before = prefixes(&Message::Update(update));
            assert_eq!(again.iter().map(prefixes).sum::<usize>(), before);
        }
        // Ignored octets are not kept: the SAFI's upper half, a family named twice.
        other => assert_eq!(again, [other]),
    }
}

/// Fails the whole process if one input takes too long: a hang cannot be caught otherwise.
fn watchdog(started: Arc<AtomicU64>, input: Arc<Mutex<Vec<u8>>>, done: Arc<AtomicBool>) {
    let mut last = (0, Instant::now());
    while !done.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(100));
        let count = started.load(Ordering::Relaxed);
        if count != last.0 {
            last = (count, Instant::now());
        } else if last.1.elapsed() > HANG {
            eprintln!("hangs: {:02x?}", input.lock().expect("no panic holds it"));
            std::process::abort();
        }
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("BRINDLE_FUZZ_SECONDS");
    Duration::from_secs(seconds.map_or(2, |text| text.parse().expect("seconds")))
}

#[test]
pub fn mutated_messages_do_no_harm() {
    let sessions = [
        Negotiated { extended_next_hop: true, ..ebgp() },
        Negotiated { four_octet_as: false, extended_messages: true, ..ibgp() },
    ];
    let seeds = seeds();
    let (started, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let input = Arc::new(Mutex::new(Vec::new()));
    let guard = {
        let (started, input, done) = (started.clone(), input.clone(), done.clone());
        std::thread::spawn(move || watchdog(started, input, done))
    };
    for session in &sessions {
        for seed in &seeds {
            check(seed, session);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let until = Instant::now() + seconds();
        while Instant::now() < until {
            for _ in 0..256 {
                let octets = mutate(&seeds[random.below(seeds.len())], &mut random);
                input.lock().expect("no panic holds it").clone_from(&octets);
                started.fetch_add(1, Ordering::Relaxed);
                let result = std::panic::catch_unwind(|| check(&octets, session));
                assert!(result.is_ok(), "harmed by {octets:02x?} on {session:?}");
            }
        }
    }
    done.store(true, Ordering::Relaxed);
    guard.thread().unpark();
    guard.join().expect("the watchdog ends");
    let count = started.load(Ordering::Relaxed);
    assert!(count > 10_000, "only {count} inputs were tried");
}
