//! Numbered datagrams, each the first of a flow of its own, and when each was sent and arrived.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};

use crate::netns::Netns;
use crate::ports;

/// Ports that a receiver has, in turn: with each, source ports may be used once more before the
/// kernel has forgotten their connections.
const PORTS: u16 = 4;
/// Bytes that may wait for the receiving thread.
const INBOX: usize = 16 << 20;
/// How long the receiver waits before it looks whether it is to end; and the last packet's time.
const LOOK: u16 = 100;

/// A path that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// Where from.
    pub from: &'a Netns,
    /// Where to.
    pub to: &'a Netns,
    /// An address of `to`.
    pub address: IpAddr,
    /// The first of [`PORTS`] ports.
    pub port: u16,
}

/// What was sent and what arrived.
#[derive(Debug, Default)]
struct Book {
    /// When each was about to be sent, by number.
    sent: Vec<SystemTime>,
    /// When the kernel received it, by number.
    arrived: BTreeMap<usize, SystemTime>,
}

/// The prober of one path; it stops when it is dropped.
#[derive(Debug)]
pub struct Knocks {
    stop: Arc<AtomicBool>,
    book: Arc<Mutex<Book>>,
    sender: Option<JoinHandle<Result<()>>>,
    receiver: Option<JoinHandle<Result<()>>>,
}

impl Knocks {
    /// Sends one every `pace`.
    ///
    /// # Errors
    /// A port is taken, or a pod is gone.
    pub fn start(path: Path<'_>, pace: Duration) -> Result<Self> {
        let targets: Vec<_> =
            (0..PORTS).map(|n| SocketAddr::new(path.address, path.port + n)).collect();
        let inboxes = path.to.enter(|| {
            let open = |target: &SocketAddr| -> Result<UdpSocket> {
                let socket =
                    UdpSocket::bind(target).with_context(|| format!("listen on {target}"))?;
                setsockopt(&socket, RcvBufForce, &INBOX)?;
                setsockopt(&socket, ReceiveTimestampns, &true)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            targets.iter().map(open).collect::<Result<Vec<_>>>()
        })??;
        let (stop, book) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Book>>::default());
        let inside = Netns::existing(path.from.name());
        let sender = thread::spawn({
            let (stop, book) = (stop.clone(), book.clone());
            move || inside.enter(|| send(&targets, pace, &stop, &book))?
        });
        let receiver = thread::spawn({
            let (stop, book) = (stop.clone(), book.clone());
            move || receive(&inboxes, &stop, &book)
        });
        Ok(Self { stop, book, sender: Some(sender), receiver: Some(receiver) })
    }

    /// How many were sent so far: the number of the next.
    pub fn next(&self) -> usize {
        lock(&self.book).sent.len()
    }

    /// How many arrived so far.
    pub fn arrived(&self) -> usize {
        lock(&self.book).arrived.len()
    }

    /// When the first of those from number `from` on arrived.
    pub fn first_arrival(&self, from: usize) -> Option<SystemTime> {
        lock(&self.book).arrived.range(from..).next().map(|(_, at)| *at)
    }

    /// When the first that was not followed by an arrival was sent, if since then `quiet` more were.
    pub fn quiet_since(&self, from: usize, quiet: usize) -> Option<SystemTime> {
        let book = lock(&self.book);
        let last = book.arrived.range(from..).next_back();
        let first = last.map_or(from, |(number, _)| number + 1);
        if book.sent.len() < first + quiet { None } else { book.sent.get(first).copied() }
    }

    /// Numbers of those that did not arrive, once the last had its time to.
    ///
    /// # Errors
    /// A thread of it had ended early, so that nothing can be said.
    pub fn end(mut self) -> Result<Ended> {
        self.stop.store(true, Ordering::Relaxed);
        joined(self.sender.take())?;
        joined(self.receiver.take())?;
        let book = lock(&self.book);
        let lost = (0..book.sent.len()).filter(|n| !book.arrived.contains_key(n)).collect();
        Ok(Ended { sent: book.sent.len(), lost })
    }
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How many were sent.
    pub sent: usize,
    /// Numbers of those that did not arrive.
    pub lost: Vec<usize>,
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = joined(self.sender.take());
        let _ = joined(self.receiver.take());
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn joined(thread: Option<JoinHandle<Result<()>>>) -> Result<()> {
    match thread.map(JoinHandle::join) {
        Some(Ok(result)) => result,
        Some(Err(_)) => bail!("a thread that knocks panicked"),
        None => Ok(()),
    }
}

fn send(
    targets: &[SocketAddr],
    pace: Duration,
    stop: &AtomicBool,
    book: &Mutex<Book>,
) -> Result<()> {
    let any: IpAddr = match targets.first() {
        Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    for target in targets.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // One whose port somebody else has is left out.
        let Ok(socket) = UdpSocket::bind(SocketAddr::new(any, ports::fresh())) else { continue };
        let number = {
            let mut book = lock(book);
            book.sent.push(SystemTime::now());
            book.sent.len() - 1
        };
        // A way that is missing is a loss like any other.
        let _ = socket.send_to(&u64::try_from(number)?.to_be_bytes(), target);
        thread::sleep(pace);
    }
    Ok(())
}

fn receive(inboxes: &[UdpSocket], stop: &AtomicBool, book: &Mutex<Book>) -> Result<()> {
    loop {
        let mut polled: Vec<_> =
            inboxes.iter().map(|inbox| PollFd::new(inbox.as_fd(), PollFlags::POLLIN)).collect();
        // Quiet after the sender has stopped: everything that will arrive has.
        if poll(&mut polled, PollTimeout::from(LOOK))? == 0 && stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        for inbox in inboxes {
            while let Some((number, at)) = next(inbox)? {
                lock(book).arrived.entry(number).or_insert(at);
            }
        }
    }
}

/// The next datagram that waits, with the time at which the kernel had it.
fn next(inbox: &UdpSocket) -> Result<Option<(usize, SystemTime)>> {
    let mut number = [0; 8];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut buffers = [IoSliceMut::new(&mut number)];
    let received =
        recvmsg::<()>(inbox.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_DONTWAIT);
    let message = match received {
        Err(nix::errno::Errno::EAGAIN) => return Ok(None),
        message => message.context("receive")?,
    };
    let stamp = message.cmsgs()?.find_map(|item| match item {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    });
    let at = stamp.map_or_else(SystemTime::now, |since| SystemTime::UNIX_EPOCH + since);
    Ok(Some((usize::try_from(u64::from_be_bytes(number))?, at)))
}
