//! Socket options that no safe wrapper sets: the least TTL, the TTL of what comes, and the key of
//! TCP's MD5 signatures.
#![expect(unsafe_code, reason = "socket2, nix and rustix know none of these options")]

use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use brindle_bgp_proto::speaker::Md5Key;
use brindle_bgp_proto::speaker::transport::MAX_KEY;
use ipnet::IpNet;
use socket2::{SockAddr, SockAddrStorage};

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C)]
struct TcpMd5Sig {
    address: SockAddrStorage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: c_int,
    key: [u8; MAX_KEY],
}

/// Makes the kernel drop what arrives with a smaller TTL or hop limit; 0 takes all. IPv4 since
/// Linux 2.6.34, IPv6 since 2.6.35.
pub(crate) fn set_min_ttl(socket: &impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let (level, name) = match ipv6 {
        false => (libc::IPPROTO_IP, libc::IP_MINTTL),
        true => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket, level, name, &c_int::from(least))
}

/// Makes the kernel say the TTL or hop limit of what is received.
pub(crate) fn receive_ttl(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, name) = match ipv6 {
        false => (libc::IPPROTO_IP, libc::IP_RECVTTL),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
    };
    set(socket, level, name, &1)
}

/// `TCP_MD5SIG_EXT` and its only flag that is used here, of `linux/tcp.h`.
const TCP_MD5SIG_EXT: c_int = 32;
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// Sets, replaces or removes the key of a remote address (RFC 2385, `TCP_MD5SIG`) or, on a listening
/// socket, of a range (`TCP_MD5SIG_EXT`, Linux 4.13). An established connection goes on under the new
/// key; a listening socket uses it for connections to come, that of the longest prefix.
pub(crate) fn set_md5_key(
    socket: &impl AsFd,
    remote: IpNet,
    key: Option<&Md5Key>,
) -> io::Result<()> {
    let range = remote.prefix_len() < remote.max_prefix_len();
    let name = if range { TCP_MD5SIG_EXT } else { libc::TCP_MD5SIG };
    let octets = key.map_or(&[][..], Md5Key::octets);
    let mut option = TcpMd5Sig {
        address: SockAddr::from(SocketAddr::new(remote.network(), 0)).as_storage(),
        flags: if range { TCP_MD5SIG_FLAG_PREFIX } else { 0 },
        prefix_len: if range { remote.prefix_len() } else { 0 },
        key_len: u16::try_from(octets.len()).unwrap_or(u16::MAX),
        interface: 0,
        key: [0; MAX_KEY],
    };
    option.key[..octets.len()].copy_from_slice(octets);
    match set(socket, libc::IPPROTO_TCP, name, &option) {
        // There was none to remove.
        Err(error) if key.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn set<T>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(mem::size_of::<T>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads `len` octets at a
    // reference to a plain C value of that size.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
