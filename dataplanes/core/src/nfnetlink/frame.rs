//! Netlink framing: messages and attributes, written and read. Numbers in attributes are
//! big-endian; netlink's own headers are in host order. Reading never panics, whatever the bytes.

/// `NLA_F_NESTED`, and the bits that are not part of an attribute's type.
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;
/// Length of `nlmsghdr`.
pub const NLMSG_HEADER: usize = 16;
/// Length of `nfgenmsg`, with which every payload begins.
pub const NFGENMSG: usize = 4;

/// A buffer of messages.
#[derive(Default)]
pub struct Writer {
    /// The bytes so far.
    pub buffer: Vec<u8>,
}

impl Writer {
    /// Writes a message. `kind` is subsystem and message type, `resource` the `res_id`.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        family: u8,
        resource: u16,
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&seq.to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&[family, 0]);
        self.buffer.extend_from_slice(&resource.to_be_bytes());
        body(self);
        let len = u32::try_from(self.buffer.len() - start).expect("a message is under 4 GiB");
        self.buffer[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Writes an attribute. Its data must be under 64 KiB.
    pub fn attr(&mut self, kind: u16, data: &[u8]) {
        self.framed(kind, |w| w.buffer.extend_from_slice(data));
    }

    /// Writes a string with its NUL.
    pub fn string(&mut self, kind: u16, text: &str) {
        self.framed(kind, |w| {
            w.buffer.extend_from_slice(text.as_bytes());
            w.buffer.push(0);
        });
    }

    /// Writes a number in network order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Writes an attribute of attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.framed(kind | NESTED, body);
    }

    fn framed(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        let len = self.buffer.len() - start;
        let len16 = u16::try_from(len).expect("an attribute is under 64 KiB: lists are split");
        self.buffer[start..start + 2].copy_from_slice(&len16.to_ne_bytes());
        self.buffer.resize(start + len.next_multiple_of(4), 0);
    }
}

/// One message of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Subsystem and message type, or one of netlink's own (`NLMSG_ERROR`, `NLMSG_DONE`).
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The request that it answers.
    pub seq: u32,
    /// The socket (`nlmsg_pid`) that asked for what it answers, or that did what it tells of.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of a datagram. Ends at the first that does not fit.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.get(..NLMSG_HEADER)?;
        let len = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let message = Message {
            kind: u16::from_ne_bytes(header[4..6].try_into().ok()?),
            flags: u16::from_ne_bytes(header[6..8].try_into().ok()?),
            seq: u32::from_ne_bytes(header[8..12].try_into().ok()?),
            port: u32::from_ne_bytes(header[12..16].try_into().ok()?),
            payload: bytes.get(NLMSG_HEADER..len)?,
        };
        bytes = bytes.get(len.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes of a message or of an attribute, by type; of several with one type, the last.
/// Ends at the first that does not fit.
pub fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(k, _)| *k == kind).map(|(_, data)| data)
}

/// A number in network order.
pub fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// A string up to its NUL.
pub fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()
}
