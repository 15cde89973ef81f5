//! Sessions of the generator: what is needed to speak and to count, and no more.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use brindle_bgp_proto::capability::Capability;
use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::Family;
use brindle_bgp_proto::message::{Message, Open};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_lab::netns::Netns;
use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};

use super::address;

/// Hold time of a session that is kept alive, seconds.
const HOLD: u16 = 3;
/// Hold time of sessions that are too many for that.
const LONG_HOLD: u16 = 90;
/// How often a session says that it is alive.
const KEEPALIVE: Duration = Duration::from_millis(800);
/// Where what is measured listens.
const SUBJECT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// An established session, kept alive by a thread of its own.
pub struct Session {
    stream: Arc<Mutex<TcpStream>>,
    negotiated: Negotiated,
    rest: Vec<u8>,
    over: Arc<AtomicBool>,
}

impl Session {
    /// Connects and waits until the session is up.
    ///
    /// # Errors
    /// The other side does not want it.
    pub fn open(netns: &Netns, number: usize, asn: u32) -> Result<Self> {
        let stream = netns.enter(|| connect(number))??;
        Ok(Self::establish(stream, number, asn, HOLD)?.keep_alive())
    }

    /// Connects so many at once and waits until all sessions are up.
    ///
    /// # Errors
    /// The other side does not want one.
    pub fn open_all(netns: &Netns, count: usize, asn: fn(usize) -> u32) -> Result<Vec<Self>> {
        let streams = netns.enter(|| (0..count).map(connect).collect::<Result<Vec<_>>>())??;
        // All OPENs are on their way before the first answer is read.
        for (number, mut stream) in streams.iter().enumerate() {
            stream.write_all(&opening(number, asn(number), LONG_HOLD)?)?;
        }
        let streams = streams.into_iter().enumerate();
        streams
            .map(|(number, stream)| Self::answer(stream, number, asn(number), LONG_HOLD))
            .collect()
    }

    /// Connects so many one after another, each when the session before it is up.
    ///
    /// # Errors
    /// The other side does not want one.
    pub fn open_each(netns: &Netns, count: usize, asn: u32) -> Result<Vec<Self>> {
        let open = |number| Self::establish(connect(number)?, number, asn, LONG_HOLD);
        netns.enter(|| (0..count).map(open).collect())?
    }

    fn establish(mut stream: TcpStream, number: usize, asn: u32, hold: u16) -> Result<Self> {
        stream.write_all(&opening(number, asn, hold)?)?;
        Self::answer(stream, number, asn, hold)
    }

    /// From our OPEN on.
    fn answer(stream: TcpStream, number: usize, asn: u32, hold: u16) -> Result<Self> {
        stream.set_read_timeout(Some(super::PATIENCE))?;
        let ours = open(number, asn, hold);
        let mut session = Self {
            stream: Arc::new(Mutex::new(stream.try_clone()?)),
            negotiated: Negotiated::before_open(asn),
            rest: Vec::new(),
            over: Arc::default(),
        };
        let mut reader = &stream;
        loop {
            match next(&mut reader, &mut session.rest, &session.negotiated)? {
                Message::Open(theirs) => {
                    session.negotiated = Negotiated::new(&ours, &theirs);
                    session.write(&[keepalive()?])?;
                }
                Message::Keepalive => break,
                other => bail!("session {number}: {other:?}"),
            }
        }
        Ok(session)
    }

    fn keep_alive(self) -> Self {
        let (stream, over) = (self.stream.clone(), self.over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(KEEPALIVE);
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                // The session may be over.
                let _ = keepalive().map(|octets| stream.write_all(&octets));
            }
        });
        self
    }

    /// Writes chunks of whole messages.
    ///
    /// # Errors
    /// The session is over.
    pub fn write(&self, chunks: &[Vec<u8>]) -> Result<()> {
        for chunk in chunks {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.write_all(chunk).context("the session is over")?;
        }
        Ok(())
    }

    /// Reads what comes, for its times alone.
    ///
    /// # Errors
    /// There is no thread.
    pub fn listen(&mut self) -> Result<Listener> {
        let mut reader = self.reader()?;
        let silence: Arc<Silence> = Arc::default();
        let heard = silence.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while reader.read(&mut buffer).is_ok_and(|len| len > 0) {
                heard.note();
            }
        });
        Ok(Listener(silence))
    }

    /// The next message.
    ///
    /// # Errors
    /// The session is over.
    pub fn read(&mut self) -> Result<Message> {
        let mut reader = self.reader()?;
        next(&mut reader, &mut self.rest, &self.negotiated)
    }

    /// Its connection, to be read and written by somebody else.
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn stream(&self) -> Result<TcpStream> {
        self.reader()
    }

    /// What was read of it and not yet understood.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    fn reader(&self) -> Result<TcpStream> {
        Ok(self.stream.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be closed already.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Hears when the other side says something.
pub struct Listener(Arc<Silence>);

impl Listener {
    /// Seconds of the longest pause so far.
    pub fn silence(&self) -> f64 {
        self.0.longest()
    }
}

#[derive(Debug)]
struct Silence {
    start: Instant,
    /// Microseconds since the start: the last word, and the longest pause before it.
    last: AtomicU64,
    longest: AtomicU64,
}

impl Default for Silence {
    fn default() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }
}

impl Silence {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn note(&self) {
        let now = self.now();
        let last = self.last.swap(now, Ordering::Relaxed);
        self.longest.fetch_max(now - last, Ordering::Relaxed);
    }

    fn longest(&self) -> f64 {
        let pause = self.now().saturating_sub(self.last.load(Ordering::Relaxed));
        self.longest.load(Ordering::Relaxed).max(pause) as f64 / 1e6
    }
}

/// A neighbour that counts what it holds.
pub struct Sink {
    held: Arc<AtomicUsize>,
    silence: Arc<Silence>,
    _session: Session,
}

impl Sink {
    /// Counts prefixes of one length from `base` on.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(session: Session, base: u32, shift: u32) -> Result<Self> {
        let (held, silence): (Arc<AtomicUsize>, Arc<Silence>) = Default::default();
        let mut reader = session.reader()?;
        let (count, heard) = (held.clone(), silence.clone());
        let (negotiated, mut rest) = (session.negotiated.clone(), session.rest.clone());
        std::thread::spawn(move || {
            let mut seen = vec![false; 1 << 20];
            let mut mark = |prefixes: &[IpNet], there: bool| {
                for prefix in prefixes {
                    let IpNet::V4(prefix) = prefix else { continue };
                    let at = (u32::from(prefix.addr()).wrapping_sub(base) >> shift) as usize;
                    let Some(known) = seen.get_mut(at) else { continue };
                    match (std::mem::replace(known, there), there) {
                        (false, true) => count.fetch_add(1, Ordering::Relaxed),
                        (true, false) => count.fetch_sub(1, Ordering::Relaxed),
                        _ => 0,
                    };
                }
            };
            while let Ok(message) = next(&mut reader, &mut rest, &negotiated) {
                heard.note();
                if let Message::Update(update) = message {
                    mark(&update.withdrawn, false);
                    update.reach.iter().for_each(|reach| mark(&reach.prefixes, true));
                }
            }
        });
        Ok(Self { held, silence, _session: session })
    }

    /// Waits until it holds so many.
    ///
    /// # Errors
    /// It does not in time.
    pub fn until(&self, count: usize, patience: Duration) -> Result<()> {
        let start = Instant::now();
        while self.held.load(Ordering::Relaxed) != count {
            let held = self.held.load(Ordering::Relaxed);
            ensure!(start.elapsed() < patience, "the sink holds {held}, not {count}");
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Seconds of the longest pause so far.
    pub fn silence(&self) -> f64 {
        self.silence.longest()
    }
}

fn connect(number: usize) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((address(number), 0)).into())?;
    let to = SocketAddr::from((SUBJECT, 179));
    socket.connect(&to.into()).with_context(|| format!("session {number} to {to}"))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn open(number: usize, asn: u32, hold_time: u16) -> Open {
    let families = Family::ALL.into_iter().map(|f| Capability::Multiprotocol(f.afi_safi()));
    Open {
        as_number: asn,
        hold_time,
        router_id: address(number),
        capabilities: families.chain([Capability::FourOctetAs(asn)]).collect(),
    }
}

fn opening(number: usize, asn: u32, hold: u16) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    encode(&Message::Open(open(number, asn, hold)), &Negotiated::before_open(asn), &mut octets)?;
    Ok(octets)
}

/// A KEEPALIVE.
///
/// # Errors
/// Never: it has an encoding.
pub fn keepalive() -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    encode(&Message::Keepalive, &Negotiated::before_open(1), &mut octets)?;
    Ok(octets)
}

/// The next message; `rest` holds what was read beyond the last one.
fn next(reader: &mut impl Read, rest: &mut Vec<u8>, session: &Negotiated) -> Result<Message> {
    let mut buffer = [0; 64 * 1024];
    loop {
        if let Some(len) = frame(rest, session).map_err(|n| anyhow::anyhow!("{n:?}"))? {
            let message = decode(&rest[..len], session).map_err(|n| anyhow::anyhow!("{n:?}"));
            rest.drain(..len);
            return message;
        }
        match reader.read(&mut buffer) {
            Ok(0) => bail!("the other side closed"),
            Ok(len) => rest.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
