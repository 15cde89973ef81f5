//! Many neighbours of the generator, which count what each of them was told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::session::{Session, keepalive};

/// How often all of them say that they are alive.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Pause when nobody was told anything.
const PAUSE: Duration = Duration::from_micros(500);
/// Marker, length and type of a message (RFC 4271 §4.1).
const HEADER: usize = 19;
const UPDATE: u8 = 2;

/// The neighbours; one thread reads for all of them.
pub struct Crowd {
    writers: Vec<TcpStream>,
    held: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _sessions: Vec<Session>,
}

/// One neighbour's side.
struct Ear {
    stream: TcpStream,
    rest: Vec<u8>,
    seen: Vec<bool>,
}

impl Crowd {
    /// Counts `prefixes` IPv4 prefixes of one length from `base` on, for each neighbour.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn start(sessions: Vec<Session>, base: u32, shift: u32, prefixes: usize) -> Result<Self> {
        let streams = sessions.iter().map(Session::stream).collect::<Result<Vec<_>>>()?;
        let writers =
            streams.iter().map(TcpStream::try_clone).collect::<std::io::Result<Vec<_>>>()?;
        streams.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
        let ears = sessions.iter().zip(streams);
        let mut ears: Vec<Ear> = ears
            .map(|(session, stream)| Ear {
                stream,
                rest: session.rest().to_vec(),
                seen: vec![false; prefixes],
            })
            .collect();
        let (held, over): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let (count, end) = (held.clone(), over.clone());
        let alive = keepalive()?;
        let thread = std::thread::spawn(move || {
            let mut said = Instant::now();
            while !end.load(Ordering::Relaxed) {
                let news: usize = ears.iter_mut().map(|ear| ear.hear(base, shift)).sum();
                count.fetch_add(news, Ordering::Relaxed);
                if news == 0 {
                    std::thread::sleep(PAUSE);
                }
                if said.elapsed() > KEEPALIVE {
                    said = Instant::now();
                    // One whose socket is full is being told enough.
                    ears.iter_mut().for_each(|ear| {
                        let _ = ear.stream.write_all(&alive);
                    });
                }
            }
        });
        Ok(Self { writers, held, over, thread: Some(thread), _sessions: sessions })
    }

    /// Each neighbour says its own.
    ///
    /// # Errors
    /// A session is over.
    pub fn write(&mut self, each: &[Vec<u8>]) -> Result<()> {
        for (writer, octets) in self.writers.iter_mut().zip(each) {
            writer.write_all(octets)?;
        }
        Ok(())
    }

    /// Waits until all together hold so many.
    ///
    /// # Errors
    /// They do not in time.
    pub fn until(&self, count: usize, patience: Duration) -> Result<()> {
        let start = Instant::now();
        while self.held.load(Ordering::Relaxed) != count {
            let held = self.held.load(Ordering::Relaxed);
            ensure!(start.elapsed() < patience, "they hold {held}, not {count}");
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It panics at most over what it read, and then the count was wrong already.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Ear {
    /// Reads what has come; how many prefixes are new.
    fn hear(&mut self, base: u32, shift: u32) -> usize {
        let mut buffer = [0; 64 * 1024];
        let mut news = 0;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return news,
                Ok(len) => self.rest.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return news,
            }
            let mut at = 0;
            while let Some(message) = whole(&self.rest[at..]) {
                at += message.len();
                if message[HEADER - 1] == UPDATE {
                    let known = &mut self.seen;
                    announced(&message[HEADER..], |address| {
                        let place = (address.wrapping_sub(base) >> shift) as usize;
                        let new = known.get_mut(place).is_some_and(|k| !std::mem::replace(k, true));
                        news += usize::from(new);
                    });
                }
            }
            self.rest.drain(..at);
        }
    }
}

/// The first message, if all of it is there.
fn whole(octets: &[u8]) -> Option<&[u8]> {
    let len = u16::from_be_bytes(octets.get(16..18)?.try_into().ok()?);
    octets.get(..usize::from(len))
}

/// The IPv4 prefixes that the body of an UPDATE announces, by their first addresses (RFC 4271 §4.3).
fn announced(body: &[u8], mut take: impl FnMut(u32)) {
    let field = |at: usize| {
        let octets = body.get(at..at + 2).and_then(|octets| octets.try_into().ok());
        octets.map_or(0, |octets| usize::from(u16::from_be_bytes(octets)))
    };
    let attributes = 2 + field(0);
    let mut rest = body.get(attributes + 2 + field(attributes)..).unwrap_or_default();
    while let Some((bits, more)) = rest.split_first() {
        let len = usize::from(*bits).div_ceil(8).min(4).min(more.len());
        let mut address = [0; 4];
        address[..len].copy_from_slice(&more[..len]);
        take(u32::from_be_bytes(address));
        rest = &more[len..];
    }
}
