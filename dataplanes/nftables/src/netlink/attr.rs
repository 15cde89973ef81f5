//! What nf_tables adds to netlink's framing: its own messages, and the TLVs of userdata.

pub use brindle_dataplane_core::nfnetlink::{
    Message, NFGENMSG, NLMSG_HEADER, Writer, attrs, be32, find, messages, text,
};

use super::numbers::NFNL_SUBSYS_NFTABLES;

/// Writes a message of nf_tables for family `inet`.
pub fn message(w: &mut Writer, kind: u16, flags: u16, seq: u32, body: impl FnOnce(&mut Writer)) {
    let family = u8::try_from(libc::NFPROTO_INET).expect("NFPROTO_INET fits a byte");
    w.message((NFNL_SUBSYS_NFTABLES << 8) | kind, flags, seq, family, 0, body);
}

/// A TLV of userdata: one byte of type, one of length.
pub fn tlv(mut bytes: &[u8], kind: u8) -> Option<&[u8]> {
    loop {
        let len = usize::from(*bytes.get(1)?);
        let data = bytes.get(2..2 + len)?;
        if bytes[0] == kind {
            return Some(data);
        }
        bytes = &bytes[2 + len..];
    }
}

/// A comment as userdata; empty for none.
pub fn comment_tlv(kind: u8, comment: &str) -> Vec<u8> {
    if comment.is_empty() {
        return Vec::new();
    }
    let len = u8::try_from(comment.len() + 1).expect("comments are cut to 120 bytes");
    let mut tlv = vec![kind, len];
    tlv.extend_from_slice(comment.as_bytes());
    tlv.push(0);
    tlv
}
