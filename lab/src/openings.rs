//! When a path that must be closed was open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::ports;

/// Time between two tries.
const PACE: Duration = Duration::from_micros(200);
/// How long the receiver waits before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a datagram every fifth of a millisecond, each from a port of its own, so that each is the
/// first of a flow, and notes when one arrives.
#[derive(Debug)]
pub struct Openings {
    stop: Arc<AtomicBool>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Openings {
    /// Starts trying from one namespace to an address of another.
    ///
    /// # Errors
    /// The port is taken.
    pub fn watch(from: &Netns, to: &Netns, target: SocketAddr) -> Result<Self> {
        let inbox =
            to.enter(|| UdpSocket::bind(target))?.with_context(|| format!("listen on {target}"))?;
        inbox.set_read_timeout(Some(LOOK))?;
        let (stop, arrivals) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<_>>>::default());
        let inside = Netns::existing(from.name());
        let sender = thread::spawn({
            let stop = stop.clone();
            move || {
                let knocked = inside.enter(|| knock(target, &stop));
                assert!(knocked.is_ok(), "nobody knocks: {knocked:?}");
            }
        });
        let receiver = thread::spawn({
            let (stop, arrivals) = (stop.clone(), arrivals.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if inbox.recv(&mut [0; 16]).is_ok() {
                        arrivals
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(Instant::now());
                    }
                }
            }
        });
        Ok(Self { stop, arrivals, threads: vec![sender, receiver] })
    }

    /// When datagrams have arrived since this was last asked.
    pub fn take(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops trying.
    ///
    /// # Errors
    /// It had stopped before, so that nothing can be said.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).all(|thread| thread.join().is_ok());
        ensure!(ended, "a thread that tries a closed path panicked");
        Ok(())
    }
}

impl Drop for Openings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn knock(target: SocketAddr, stop: &AtomicBool) {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    while !stop.load(Ordering::Relaxed) {
        // One whose port somebody else has is left out.
        let Ok(socket) = UdpSocket::bind(SocketAddr::new(any, ports::fresh())) else { continue };
        // A host that is told of the denial says so at the next call.
        let _ = socket.send_to(b"knock", target);
        thread::sleep(PACE);
    }
}
