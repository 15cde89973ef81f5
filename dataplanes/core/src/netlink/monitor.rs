//! News of links and addresses.
//!
//! When a link goes down, or loses an address, the kernel drops the routes that need it and says
//! nothing about most of them; when it comes back, somebody must put them back.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::LinkAttribute;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use brindle_model::cluster::HOST_INTERFACE_PREFIX;

use super::{Messages, NetlinkError, RECEIVE_BUFFER};

/// Multicast groups of `linux/rtnetlink.h`, as bits: links, IPv4 and IPv6 addresses.
const GROUPS: u32 = 1 << 0 | 1 << 4 | 1 << 8;
/// News that come so close together are one.
const QUIET: Duration = Duration::from_millis(50);
/// Stack of the thread, bytes.
const STACK: usize = 128 * 1024;

/// Watches the links of a network namespace. Ends on drop.
#[derive(Debug)]
pub struct LinkMonitor {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl LinkMonitor {
    /// Calls `changed` after links of the calling thread's network namespace, or their global
    /// addresses, have changed; not for pods' links, which change all the time and are dealt with
    /// by whoever changes them.
    ///
    /// # Errors
    /// No socket or no thread.
    pub fn spawn(changed: impl FnMut() + Send + 'static) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            let (stop, stopped) = UnixStream::pair()?;
            let thread = std::thread::Builder::new()
                .name("link-monitor".to_owned())
                .stack_size(STACK)
                .spawn(move || watch(&socket, &stopped, changed))?;
            Ok(Self { stop, thread: Some(thread) })
        };
        open().map_err(NetlinkError::Open)
    }
}

impl Drop for LinkMonitor {
    fn drop(&mut self) {
        // Wakes the thread; it fails only if that has ended.
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches links panicked");
        }
    }
}

fn watch(socket: &Socket, stopped: &UnixStream, mut changed: impl FnMut()) {
    let mut news = false;
    loop {
        let timeout = match news {
            true => PollTimeout::try_from(QUIET).unwrap_or(PollTimeout::ZERO),
            false => PollTimeout::NONE,
        };
        match wait(socket, stopped, timeout) {
            Ok(Woken::Stop) => return,
            Ok(Woken::Quiet) => {
                news = false;
                changed();
            }
            Ok(Woken::Readable) => news |= read(socket),
            Err(error) => {
                tracing::error!(%error, "links are no longer watched");
                return;
            }
        }
    }
}

enum Woken {
    Stop,
    Quiet,
    Readable,
}

fn wait(socket: &Socket, stopped: &UnixStream, timeout: PollTimeout) -> io::Result<Woken> {
    let mut fds = [
        PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, timeout) {
        Ok(0) => Ok(Woken::Quiet),
        Ok(_) if fds[0].any() == Some(true) => {
            // The end of the stream; nothing is ever written.
            let _ = (&*stopped).read(&mut [0]);
            Ok(Woken::Stop)
        }
        Ok(_) | Err(Errno::EINTR) => Ok(Woken::Readable),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there; whether any of it matters. Lost news (`ENOBUFS`) may have mattered.
fn read(socket: &Socket) -> bool {
    let mut matters = false;
    loop {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {
                let messages = Messages(&buffer).filter_map(Result::ok);
                matters |= messages.map(|message| message.payload).any(|payload| match payload {
                    NetlinkPayload::InnerMessage(message) => concerns_us(&message),
                    _ => false,
                });
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => matters = true,
            Err(_) => return matters,
        }
    }
}

fn concerns_us(message: &RouteNetlinkMessage) -> bool {
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => {
            !link.attributes.iter().any(|attribute| match attribute {
                LinkAttribute::IfName(name) => name.starts_with(HOST_INTERFACE_PREFIX),
                _ => false,
            })
        }
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            address.header.scope == AddressScope::Universe
        }
        _ => false,
    }
}
