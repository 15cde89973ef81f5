//! What ip_tables says of a table without printing it.
#![expect(unsafe_code, reason = "the options of ip_tables have no safe wrapper")]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use brindle_model::net::Family;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::table::Table;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;

/// `struct ipt_getinfo`, the same for both families.
#[repr(C)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    num_entries: u32,
    size: u32,
}

/// How many entries a table has, in the network namespace of the calling thread: one for each
/// rule, one for the policy of each built-in chain, two for each other chain, and one for the end. A
/// table that is not there is made by the question.
///
/// # Errors
/// The kernel has no such table, or the process may not ask.
pub fn entries(family: Family, table: Table) -> io::Result<usize> {
    let (domain, level) = match family {
        Family::V4 => (AddressFamily::Inet, libc::IPPROTO_IP),
        Family::V6 => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    };
    let socket = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut info = Info {
        name: [0; 32],
        valid_hooks: 0,
        hook_entry: [0; 5],
        underflow: [0; 5],
        num_entries: 0,
        size: 0,
    };
    for (to, from) in info.name.iter_mut().zip(table.name().bytes()) {
        *to = from;
    }
    let mut len = mem::size_of::<Info>() as libc::socklen_t;
    // SAFETY: the kernel reads and writes `len` bytes of `info`, all of whose fields may hold any
    // bits; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            GET_INFO,
            (&raw mut info).cast::<libc::c_void>(),
            &raw mut len,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(info.num_entries as usize) }
}
