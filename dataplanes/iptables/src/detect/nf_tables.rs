//! What nf_tables holds in the tables of iptables, over netlink. Numbers are those of
//! `linux/netfilter/nf_tables.h`.

use brindle_dataplane_core::nfnetlink::{Failed, NFGENMSG, Socket, Writer, find, messages, text};

use super::{HINTS, Side};

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
/// Table and chain name have the same numbers in chains; rules have the table's.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const FAMILIES: [u8; 2] = [libc::NFPROTO_IPV4 as u8, libc::NFPROTO_IPV6 as u8];
/// The tables that iptables-nft makes.
const TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// `None` if the kernel has no nf_tables.
pub fn side() -> Option<Side> {
    let mut socket = Socket::open().ok()?;
    let mut side = Side::default();
    for family in FAMILIES {
        let hint = |table: &str, object: &[u8]| {
            let name = find(object, CHAIN_NAME).and_then(text);
            table == "mangle" && name.is_some_and(|name| HINTS.contains(&name))
        };
        let dumped = dump(&mut socket, family, GET_CHAIN, |table, object| {
            side.hint |= hint(table, object);
        });
        if !dumped.ok()? {
            return None;
        }
        dump(&mut socket, family, GET_RULE, |_, _| side.rules += 1).ok()?;
    }
    Some(side)
}

/// Calls `each` with the table and the attributes of each object in tables of iptables. Returns
/// whether the kernel knows the question.
fn dump(
    socket: &mut Socket,
    family: u8,
    kind: u16,
    mut each: impl FnMut(&str, &[u8]),
) -> Result<bool, Failed> {
    let seq = socket.reserve(1);
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = Writer::default();
    request.message(SUBSYSTEM | kind, flags, seq, family, 0, |_| {});
    socket.send(&request.buffer)?;
    loop {
        let Some(datagram) = socket.receive(true)? else { return Ok(false) };
        for message in messages(datagram).filter(|message| message.seq == seq) {
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(true),
                libc::NLMSG_ERROR => return Ok(false),
                _ => {}
            }
            let object = message.payload.get(NFGENMSG..).unwrap_or_default();
            if let Some(table) = find(object, TABLE).and_then(text)
                && TABLES.contains(&table)
            {
                each(table, object);
            }
        }
    }
}
