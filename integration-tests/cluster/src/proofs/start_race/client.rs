//! What runs in a pod that connects as it starts: this program, under another task.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// Written last.
pub const END: &str = "all was tried";
/// Time between two tries of a target.
const PACE: Duration = Duration::from_millis(5);
/// How many tries follow each other at that pace: those of the first 100 ms. Then it is ten times
/// slower, because all clients do it.
const FAST: usize = 20;
/// Tries of a target that are under way at a time.
const KEPT: usize = 12;
/// How long is tried: a first SYN that was dropped has come again by then, twice.
const ENOUGH: Duration = Duration::from_millis(3500);
/// As [`ENOUGH`], while a target that may be asked has not answered. Nobody knows here which those are,
/// so it is for all until one of each place has.
const PATIENCE: Duration = Duration::from_secs(12);

/// What became of a target. Times are microseconds since the program started or, of `first`, since the
/// try began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub target: String,
    /// When the first connection was there.
    pub connected: Option<u64>,
    /// How long the very first try took to become one.
    pub first: Option<u64>,
    /// How many tries began.
    pub tries: u64,
}

impl Seen {
    /// As one line.
    pub fn line(&self) -> String {
        json!([self.target, self.connected, self.first, self.tries]).to_string()
    }

    /// From its line; none if it is another one.
    pub fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            target: value[0].as_str()?.to_owned(),
            connected: value[1].as_u64(),
            first: value[2].as_u64(),
            tries: value[3].as_u64()?,
        })
    }
}

/// A target under way.
struct Target {
    seen: Seen,
    address: SocketAddr,
    next: Instant,
    /// With its number, and when it began.
    under_way: Vec<(u64, Instant, Socket)>,
}

/// Tries all `targets`, each `NAME=ADDRESS:PORT`, and writes what became of them.
///
/// # Errors
/// One is written otherwise, or no socket is to be had.
pub fn run(targets: &[String]) -> Result<()> {
    let start = Instant::now();
    let mut targets =
        targets.iter().map(|text| Target::read(text, start)).collect::<Result<Vec<_>>>()?;
    ensure!(!targets.is_empty(), "no target");
    loop {
        let passed = start.elapsed();
        let open = |t: &Target| t.seen.connected.is_some();
        let places = ["own open", "next open"];
        let answered = targets
            .iter()
            .filter(|t| places.iter().any(|place| t.seen.target.starts_with(place)))
            .all(open);
        if passed > PATIENCE || (passed > ENOUGH && answered) {
            break;
        }
        for target in &mut targets {
            target.try_again()?;
        }
        wait(&targets)?;
        for target in &mut targets {
            target.look(start)?;
        }
    }
    targets.iter().for_each(|target| println!("{}", target.seen.line()));
    println!("{END}");
    Ok(())
}

/// Until something is connected, or it is time for another try.
fn wait(targets: &[Target]) -> Result<()> {
    let asked = targets.iter().filter(|target| target.seen.connected.is_none());
    let next = asked.map(|target| target.next).min();
    let left = next.map_or(PACE * 10, |next| next.saturating_duration_since(Instant::now()));
    let sockets = targets.iter().flat_map(|target| &target.under_way);
    let mut polled: Vec<_> =
        sockets.map(|(_, _, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)).collect();
    poll(&mut polled, PollTimeout::try_from(left)?)?;
    Ok(())
}

impl Target {
    fn read(text: &str, start: Instant) -> Result<Self> {
        let (name, address) = text.split_once('=').context("a target is NAME=ADDRESS:PORT")?;
        let seen = Seen { target: name.to_owned(), connected: None, first: None, tries: 0 };
        Ok(Self { seen, address: address.parse()?, next: start, under_way: Vec::new() })
    }

    fn try_again(&mut self) -> Result<()> {
        let now = Instant::now();
        // One that has answered is asked no more.
        if self.seen.connected.is_some() || now < self.next {
            return Ok(());
        }
        let fast = usize::try_from(self.seen.tries)? < FAST;
        self.next = now + if fast { PACE } else { PACE * 10 };
        let socket =
            Socket::new(Domain::for_address(self.address), Type::STREAM.nonblocking(), None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        // In progress; or there is no way, which is no connection.
        let _ = socket.connect(&self.address.into());
        // The very first is kept: it tells whether its SYN passed. Others are many, and alike.
        if self.under_way.len() >= KEPT {
            self.under_way.remove(1);
        }
        self.under_way.push((self.seen.tries, now, socket));
        self.seen.tries += 1;
        Ok(())
    }

    fn look(&mut self, start: Instant) -> Result<()> {
        let mut left = Vec::new();
        for (number, began, socket) in self.under_way.drain(..) {
            let failed = socket.take_error()?.is_some();
            if !failed && socket.peer_addr().is_err() {
                left.push((number, began, socket));
                continue;
            }
            if failed {
                continue;
            }
            let micros = |since: Instant| u64::try_from(since.elapsed().as_micros());
            self.seen.connected.get_or_insert(micros(start)?);
            if number == 0 {
                self.seen.first = Some(micros(began)?);
            }
        }
        self.under_way = left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_back() {
        let seen = Seen { target: "own open-4".into(), connected: Some(7), first: None, tries: 9 };
        assert_eq!(Seen::read(&seen.line()), Some(seen));
        assert_eq!(Seen::read(END), None);
    }
}
