//! Traffic that runs while something is done to the lab, and what was lost of it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::netns::Netns;

/// Time between two datagrams, and between two bytes of the stream.
const PACE: Duration = Duration::from_millis(1);

/// Bytes of datagrams that may wait for their receiver; each small one counts as almost a thousand.
const INBOX: usize = 16 << 20;

/// A UDP flow of numbered datagrams and a TCP stream, from one namespace to another.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    udp_received: Arc<AtomicU64>,
    tcp_received: Arc<AtomicU64>,
    udp: JoinHandle<Result<u64>>,
    tcp: JoinHandle<Result<u64>>,
    receivers: Vec<JoinHandle<Result<()>>>,
    gaps: Arc<Mutex<Vec<Gap>>>,
}

/// Datagrams in a row that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many were sent before them.
    pub after: u64,
    /// How many they are.
    pub datagrams: u64,
}

/// What a run of traffic came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Datagrams sent.
    pub udp_sent: u64,
    /// Datagrams that did not arrive.
    pub udp_lost: u64,
    /// Where they are missing among those that did; the pace is one a millisecond.
    pub udp_gaps: Vec<Gap>,
    /// Bytes sent over the stream.
    pub tcp_sent: u64,
    /// Bytes that did not arrive.
    pub tcp_lost: u64,
}

impl Traffic {
    /// Starts both flows to a port of `to`.
    ///
    /// # Errors
    /// The port is taken, or the TCP connection is not admitted.
    pub fn start(from: &Netns, to: &Netns, address: IpAddr, port: u16) -> Result<Self> {
        let target = SocketAddr::new(address, port);
        let (listener, inbox) = to.enter(|| -> Result<_> {
            let inbox = UdpSocket::bind(target)?;
            // What the network delivered must not be lost for a receiver that has to wait for a
            // processor.
            setsockopt(&inbox, RcvBufForce, &INBOX)?;
            Ok((TcpListener::bind(target)?, inbox))
        })??;
        let any: SocketAddr =
            if target.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
        let (stream, outbox) = from.enter(|| -> Result<_> {
            let stream = TcpStream::connect_timeout(&target, Duration::from_secs(2))
                .with_context(|| format!("connect to {target}"))?;
            stream.set_nodelay(true)?;
            let outbox = UdpSocket::bind(any)?;
            outbox.connect(target)?;
            Ok((stream, outbox))
        })??;
        let (accepted, _) = listener.accept()?;
        let stop = Arc::new(AtomicBool::new(false));
        let [udp_received, tcp_received] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let gaps = Arc::<Mutex<Vec<Gap>>>::default();
        let receivers = vec![
            thread::spawn({
                let (count, gaps, stop) = (udp_received.clone(), gaps.clone(), stop.clone());
                move || receive_datagrams(&inbox, &count, &gaps, &stop)
            }),
            thread::spawn({
                let count = tcp_received.clone();
                move || receive_stream(accepted, &count)
            }),
        ];
        let udp = thread::spawn({
            let stop = stop.clone();
            let mut number = 0_u64;
            move || {
                pace(&stop, || {
                    outbox.send(&number.to_be_bytes())?;
                    number += 1;
                    Ok(())
                })
            }
        });
        let tcp = thread::spawn({
            let stop = stop.clone();
            let mut stream = stream;
            move || pace(&stop, || stream.write_all(b"b"))
        });
        Ok(Self { stop, udp_received, tcp_received, udp, tcp, receivers, gaps })
    }

    /// Datagrams that have arrived so far.
    pub fn datagrams(&self) -> u64 {
        self.udp_received.load(Ordering::Relaxed)
    }

    /// Stops sending, lets the last packets arrive, and counts.
    ///
    /// # Errors
    /// A sender or receiver failed.
    pub fn stop(self) -> Result<Loss> {
        self.stop.store(true, Ordering::Relaxed);
        let udp_sent = joined(self.udp)?;
        let tcp_sent = joined(self.tcp)?;
        for receiver in self.receivers {
            joined(receiver)?;
        }
        let lost =
            |sent: u64, received: &AtomicU64| sent - received.load(Ordering::Relaxed).min(sent);
        Ok(Loss {
            udp_sent,
            udp_lost: lost(udp_sent, &self.udp_received),
            udp_gaps: std::mem::take(&mut self.gaps.lock().unwrap_or_else(PoisonError::into_inner)),
            tcp_sent,
            tcp_lost: lost(tcp_sent, &self.tcp_received),
        })
    }
}

fn joined<T>(handle: JoinHandle<Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|_| bail!("a traffic thread panicked"))
}

/// Sends at the pace until told to stop, and counts what was sent. A sleep is the pace itself
/// here, not a wait for something to happen.
fn pace(stop: &AtomicBool, mut send: impl FnMut() -> std::io::Result<()>) -> Result<u64> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        send().context("send")?;
        sent += 1;
        thread::sleep(PACE);
    }
    Ok(sent)
}

fn receive_datagrams(
    inbox: &UdpSocket,
    count: &AtomicU64,
    gaps: &Mutex<Vec<Gap>>,
    stop: &AtomicBool,
) -> Result<()> {
    inbox.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut number = [0; 8];
    let mut next = 0;
    loop {
        match inbox.recv(&mut number) {
            Ok(_) => {
                count.fetch_add(1, Ordering::Relaxed);
                let number = u64::from_be_bytes(number);
                if number > next {
                    let gap = Gap { after: next, datagrams: number - next };
                    gaps.lock().unwrap_or_else(PoisonError::into_inner).push(gap);
                }
                next = next.max(number + 1);
            }
            // Quiet after the sender has stopped: everything that will arrive has.
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
            Err(_) => {}
        }
    }
}

fn receive_stream(mut stream: TcpStream, count: &AtomicU64) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).context("read the stream")? {
            0 => return Ok(()),
            n => count.fetch_add(n as u64, Ordering::Relaxed),
        };
    }
}
