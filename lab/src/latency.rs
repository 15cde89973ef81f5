//! The moment at which a closed path opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

use crate::netns::Netns;
use crate::ports;

/// Tries to connect every half millisecond, each time from a port of its own, so that neither a
/// SYN retransmission nor connection tracking hides the moment.
#[derive(Debug)]
pub struct Waiting {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Result<()>>>,
    listener: Socket,
}

/// Starts trying from one namespace to an address of another.
///
/// # Errors
/// The port is taken.
pub fn first_admitted(from: &Netns, to: &Netns, target: SocketAddr) -> Result<Waiting> {
    let domain = Domain::for_address(target);
    let listener = to.enter(|| -> Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&target.into()).with_context(|| format!("bind {target}"))?;
        socket.listen(1024)?;
        Ok(socket)
    })??;
    let stop = Arc::new(AtomicBool::new(false));
    let inside = Netns::existing(from.name());
    let stopped = stop.clone();
    let sender = thread::spawn(move || inside.enter(|| knock(domain, target, &stopped))?);
    Ok(Waiting { stop, sender: Some(sender), listener })
}

fn knock(domain: Domain, target: SocketAddr, stop: &AtomicBool) -> Result<()> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The last tries stay open, so that a try is not closed before its SYN is judged.
    let mut recent = std::collections::VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SocketAddr::new(any, ports::fresh()).into())?;
        socket.set_linger(Some(Duration::ZERO))?;
        let _ = socket.connect(&target.into());
        recent.push_back(socket);
        if recent.len() > 64 {
            recent.pop_front();
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

impl Waiting {
    /// Waits for the first admitted connection and tells when it came.
    ///
    /// # Errors
    /// None came within `patience`.
    pub fn wait(mut self, patience: Duration) -> Result<Instant> {
        self.listener.set_read_timeout(Some(patience))?;
        let accepted = self.listener.accept();
        let moment = Instant::now();
        self.end()?;
        match accepted {
            Ok(_) => Ok(moment),
            Err(e) => bail!("no connection within {patience:?}: {e}"),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.sender.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("the sender panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
