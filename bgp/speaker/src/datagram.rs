//! Datagrams with the TTL that they came with.
#![expect(unsafe_code, reason = "socket2, nix and tokio do not read the TTL of a datagram")]

use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockAddr;

/// More than any BFD packet has.
const MAX_OCTETS: usize = 128;

/// One datagram.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Who sent it.
    pub(crate) from: IpAddr,
    /// TTL or hop limit that it came with.
    pub(crate) ttl: u8,
    /// Its contents, cut to what BFD needs.
    pub(crate) octets: Vec<u8>,
}

/// Room for control messages, aligned as the kernel writes them.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receives one datagram from a socket that was told to say the TTL; `None` if the kernel did not.
pub(crate) fn receive(socket: &impl AsFd) -> io::Result<Option<Datagram>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut octets = [0_u8; MAX_OCTETS];
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: MAX_OCTETS };
    let mut ttl = None;
    let receive = |address: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        // SAFETY: an all-zero `msghdr` is a valid one that names no buffers.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = address.cast();
        // SAFETY: `try_init` hands out a pointer to a valid length.
        header.msg_namelen = unsafe { *len };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len();
        // SAFETY: every pointer in the header is to a buffer that outlives the call and has the
        // length beside it.
        let read = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
        if read < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above; the kernel has written how much of the name it filled.
        unsafe { *len = header.msg_namelen };
        // SAFETY: the kernel has filled `header` and the control buffer that it points to; the
        // macros stay within `msg_controllen`.
        let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        while !message.is_null() {
            // SAFETY: not null, so within the control buffer and aligned as it is.
            let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
            let of_ttl = (level, kind) == (libc::IPPROTO_IP, libc::IP_TTL)
                || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT);
            if of_ttl {
                // SAFETY: both messages carry one C int.
                let value = unsafe { libc::CMSG_DATA(message).cast::<c_int>().read_unaligned() };
                ttl = u8::try_from(value).ok();
            }
            // SAFETY: as for the first one.
            message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
        }
        Ok(usize::try_from(read).unwrap_or_default())
    };
    // SAFETY: `receive` initialises the address as far as the length that it writes.
    let (read, from) = unsafe { SockAddr::try_init(receive) }?;
    let from = from.as_socket().map(|from| from.ip());
    Ok(from.zip(ttl).map(|(from, ttl)| Datagram { from, ttl, octets: octets[..read].to_vec() }))
}
