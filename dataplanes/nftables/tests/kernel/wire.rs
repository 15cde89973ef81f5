//! Raw frames on a veth's end: packets of any protocol, from any address, and none that a kernel
//! answers.

#![expect(unsafe_code, reason = "a packet socket is bound by a sockaddr_ll, which nix cannot make")]

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket};

/// A packet socket on one interface.
pub struct Wire(OwnedFd);

impl Wire {
    /// Opens the interface of that name in the thread's network namespace.
    pub fn open(interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let index = if_nametoindex(interface).expect("the interface exists");
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, None)
            .expect("a packet socket");
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index.cast_signed();
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address is a sockaddr_ll of that length and outlives the call.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        Errno::result(bound).expect("bind");
        Self(fd)
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.0.as_raw_fd(), frame, MsgFlags::empty()).expect("send a frame");
        assert_eq!(sent, frame.len());
    }

    /// The next frame, if one is there.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => {
                buffer.truncate(len);
                Some(buffer)
            }
            Err(Errno::EAGAIN) => None,
            Err(e) => panic!("receive a frame: {e}"),
        }
    }
}
