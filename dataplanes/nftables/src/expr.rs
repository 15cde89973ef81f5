//! Rules as the kernel knows them: a list of expressions over registers.
//!
//! The encoding follows what `nft` itself writes, so that `nft list` can read it back as text.
//! [`Expr`] keeps only what has a meaning, so that what the kernel dumps compares equal to what
//! was written: packet counts, and attributes that the kernel adds, are left out.

use brindle_dataplane_core::{HOST_ACCEPTED_MARK, REVOKED_MARK};
use brindle_model::Name;
use brindle_model::cluster::HOST_INTERFACE_PREFIX;
use brindle_model::net::{Family, Protocol};

use crate::netlink::ct_state;
use crate::rule::{Criterion, CtState, Log, MapKey, Rule, Side, Target};
use crate::table::Verdict;
use crate::text::octets;

/// A register, as the kernel numbers them: 0 is the verdict, 1–4 are 16 bytes each, 8–23 are
/// 4 bytes each and lie over 1–4.
pub type Register = u32;

/// The verdict register.
pub const VERDICT: Register = 0;
const FIRST: Register = 1;

/// What `meta` loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MetaKey {
    /// The packet's mark, 4 bytes in host order.
    Mark = 3,
    /// Name of the input interface, 16 bytes.
    Iifname = 6,
    /// Name of the output interface, 16 bytes.
    Oifname = 7,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, 1 byte.
    Nfproto = 15,
    /// Upper-layer protocol, 1 byte.
    L4proto = 16,
    /// Group of the input interface, 4 bytes.
    Iifgroup = 21,
    /// Group of the output interface, 4 bytes.
    Oifgroup = 22,
}

/// What `ct` loads, 4 bytes in host order (`enum nft_ct_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CtKey {
    /// The connection state bits.
    State = 0,
    /// The connection's mark; a packet without a connection matches nothing.
    Mark = 3,
}

/// Which header a payload offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Base {
    /// IPv4 or IPv6 header.
    Network = 1,
    /// Upper-layer header.
    Transport = 2,
}

/// Comparison operators (`enum nft_cmp_ops`; `range` knows the first two).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CmpOp {
    /// Equal, or within.
    Eq = 0,
    /// Not equal, or outside.
    Neq = 1,
    /// At most.
    Lte = 3,
    /// At least.
    Gte = 5,
}

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads packet metadata.
    Meta { key: MetaKey, dreg: Register },
    /// Loads header bytes.
    Payload { base: Base, offset: u32, len: u32, dreg: Register },
    /// Loads what connection tracking knows of the packet.
    Ct { key: CtKey, dreg: Register },
    /// Compares a register with a constant.
    Cmp { op: CmpOp, sreg: Register, data: Vec<u8> },
    /// Compares a register with a range.
    Range { op: CmpOp, sreg: Register, from: Vec<u8>, to: Vec<u8> },
    /// Masks a register, then inverts the bits of `xor` in it.
    Mask { sreg: Register, dreg: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Writes packet metadata.
    SetMeta { key: MetaKey, sreg: Register },
    /// Keeps connection tracking from the packet.
    NoTrack,
    /// Asks a set, or a verdict map if `map`.
    Lookup { set: Name, sreg: Register, map: bool, inverted: bool },
    /// Counts.
    Counter,
    /// Holds for at most so many packets a second, after a burst of as many.
    Limit { per_second: u32 },
    /// Tells the listeners of an nfnetlink_log group.
    Log { group: u16, prefix: Name },
    /// Decides.
    Immediate(Verdict),
}

/// Loads the fields of a key into consecutive registers. A field takes whole 32-bit registers;
/// a register whose number divides by four is called by its 16-byte name, as the kernel dumps it.
struct Key {
    exprs: Vec<Expr>,
    words: u32,
}

impl Key {
    fn new() -> Self {
        Self { exprs: Vec::new(), words: 0 }
    }

    fn next(&mut self, len: u32) -> Register {
        let at = self.words;
        self.words += len.div_ceil(4);
        if at.is_multiple_of(4) { FIRST + at / 4 } else { 8 + at }
    }

    fn meta(mut self, key: MetaKey) -> Self {
        let len = match key {
            MetaKey::Iifname | MetaKey::Oifname => 16,
            MetaKey::Mark | MetaKey::Iifgroup | MetaKey::Oifgroup => 4,
            MetaKey::Nfproto | MetaKey::L4proto => 1,
        };
        let dreg = self.next(len);
        self.exprs.push(Expr::Meta { key, dreg });
        self
    }

    fn address(mut self, side: Side, family: Family) -> Self {
        let (source, len) = match family {
            Family::V4 => (12, 4),
            Family::V6 => (8, 16),
        };
        let offset = if side == Side::Source { source } else { source + len };
        let dreg = self.next(len);
        self.exprs.push(Expr::Payload { base: Base::Network, offset, len, dreg });
        self
    }

    fn ct_state(mut self) -> Self {
        let dreg = self.next(4);
        self.exprs.push(Expr::Ct { key: CtKey::State, dreg });
        self
    }

    fn port(mut self, side: Side) -> Self {
        let offset = if side == Side::Source { 0 } else { 2 };
        let dreg = self.next(2);
        self.exprs.push(Expr::Payload { base: Base::Transport, offset, len: 2, dreg });
        self
    }

    fn lookup(mut self, set: &Name, equal: bool) -> Vec<Expr> {
        self.exprs.push(Expr::Lookup {
            set: set.clone(),
            sreg: FIRST,
            map: false,
            inverted: !equal,
        });
        self.exprs
    }

    fn map(mut self, map: &Name) -> Vec<Expr> {
        self.exprs.push(Expr::Lookup { set: map.clone(), sreg: FIRST, map: true, inverted: false });
        self.exprs
    }

    fn compare(mut self, equal: bool, data: Vec<u8>) -> Vec<Expr> {
        let op = if equal { CmpOp::Eq } else { CmpOp::Neq };
        self.exprs.push(Expr::Cmp { op, sreg: FIRST, data });
        self.exprs
    }

    fn within(mut self, equal: bool, from: Vec<u8>, to: Vec<u8>) -> Vec<Expr> {
        if from == to {
            return self.compare(equal, from);
        }
        if equal {
            self.exprs.push(Expr::Cmp { op: CmpOp::Gte, sreg: FIRST, data: from });
            self.exprs.push(Expr::Cmp { op: CmpOp::Lte, sreg: FIRST, data: to });
        } else {
            self.exprs.push(Expr::Range { op: CmpOp::Neq, sreg: FIRST, from, to });
        }
        self.exprs
    }
}

impl Rule {
    /// The rule as expressions.
    pub fn exprs(&self) -> Vec<Expr> {
        let mut exprs = Vec::new();
        let mut family_known = false;
        let mut open = None;
        for criterion in &self.criteria {
            if let Some(family) = family_needed(criterion)
                && !std::mem::replace(&mut family_known, true)
            {
                exprs.extend(family_check(family));
            }
            let next = criterion_exprs(criterion);
            if !join_fields(&mut exprs, open, &next) {
                let field =
                    matches!(next[..], [Expr::Payload { .. }, Expr::Cmp { op: CmpOp::Eq, .. }]);
                open = field.then_some(exprs.len());
                exprs.extend(next);
            }
        }
        if self.counter {
            exprs.push(Expr::Counter);
        }
        match &self.target {
            Target::Verdict(verdict) => exprs.push(Expr::Immediate(verdict.clone())),
            Target::Map(key, map) => exprs.extend(match key {
                MapKey::InputGroup => Key::new().meta(MetaKey::Iifgroup).map(map),
                MapKey::OutputGroup => Key::new().meta(MetaKey::Oifgroup).map(map),
                MapKey::KnownFlow(family) => own_source(*family).ct_state().map(map),
                MapKey::Service => {
                    Key::new().meta(MetaKey::L4proto).port(Side::Destination).map(map)
                }
            }),
            Target::Mark(set) => exprs.extend(mark(*set)),
            Target::NoTrack => exprs.push(Expr::NoTrack),
            Target::Log(Log { group, prefix, per_second }) => exprs.extend([
                Expr::Limit { per_second: *per_second },
                Expr::Log { group: *group, prefix: prefix.clone() },
            ]),
        }
        exprs
    }
}

/// Compares two neighbouring header fields at once, as `nft` does: source and destination port,
/// ICMP type and code, two whole IPv4 addresses. `open` is where the last criterion stands, if it
/// compares a field with a constant.
fn join_fields(exprs: &mut [Expr], open: Option<usize>, next: &[Expr]) -> bool {
    let Some([Expr::Payload { base, offset, len, .. }, Expr::Cmp { data, .. }, ..]) =
        open.and_then(|at| exprs.get_mut(at..))
    else {
        return false;
    };
    match next {
        [
            Expr::Payload { base: next_base, offset: next_offset, len: next_len, .. },
            Expr::Cmp { op: CmpOp::Eq, data: next_data, .. },
        ] if base == next_base
            && *offset + *len == *next_offset
            && len == next_len
            && *len + next_len <= 16 =>
        {
            *len += next_len;
            data.extend_from_slice(next_data);
            true
        }
        _ => false,
    }
}

/// A rule of an `inet` table must check the family before it looks at a network header; `nft`
/// writes the check once a rule, before the first criterion that needs it.
fn family_needed(criterion: &Criterion) -> Option<Family> {
    match criterion {
        Criterion::Family(family)
        | Criterion::OwnSource { family, .. }
        | Criterion::Address { family, .. }
        | Criterion::Tuple { family, .. } => Some(*family),
        Criterion::Prefix { net, .. } => Some(Family::of_net(*net)),
        _ => None,
    }
}

fn family_check(family: Family) -> Vec<Expr> {
    let number = match family {
        Family::V4 => libc::NFPROTO_IPV4,
        Family::V6 => libc::NFPROTO_IPV6,
    };
    let number = u8::try_from(number).expect("NFPROTO numbers fit a byte");
    Key::new().meta(MetaKey::Nfproto).compare(true, vec![number])
}

fn criterion_exprs(criterion: &Criterion) -> Vec<Expr> {
    match criterion {
        Criterion::Family(_) => Vec::new(),
        Criterion::CtState(state) => ct_state(*state),
        Criterion::Revoked => any_bit(CtKey::Mark, REVOKED_MARK),
        Criterion::HostAccepted => {
            let load = Expr::Meta { key: MetaKey::Mark, dreg: FIRST };
            has_bit(load, HOST_ACCEPTED_MARK)
        }
        Criterion::Interface { input, name } => {
            let key = if *input { MetaKey::Iifname } else { MetaKey::Oifname };
            // The name whole, with what is after it: a prefix would be others' too.
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(16, 0);
            Key::new().meta(key).compare(true, bytes)
        }
        Criterion::PodInterface { input, equal } => {
            let key = if *input { MetaKey::Iifname } else { MetaKey::Oifname };
            Key::new().meta(key).compare(*equal, HOST_INTERFACE_PREFIX.as_bytes().to_vec())
        }
        Criterion::OwnSource { family, set } => own_source(*family).lookup(set, true),
        Criterion::Protocol { equal, protocol: Protocol(number) } => {
            Key::new().meta(MetaKey::L4proto).compare(*equal, vec![*number])
        }
        Criterion::ProtocolSet { equal, set } => {
            Key::new().meta(MetaKey::L4proto).lookup(set, *equal)
        }
        Criterion::IcmpType { equal, first, last, .. } => {
            icmp_byte(0).within(*equal, vec![*first], vec![*last])
        }
        Criterion::IcmpCode { equal, code, .. } => icmp_byte(1).compare(*equal, vec![*code]),
        Criterion::Prefix { side, equal, net } => prefix(*side, *equal, *net),
        Criterion::Address { side, family, equal, set } => {
            Key::new().address(*side, *family).lookup(set, *equal)
        }
        Criterion::Ports { side, equal, range } => Key::new().port(*side).within(
            *equal,
            range.first.to_be_bytes().to_vec(),
            range.last.to_be_bytes().to_vec(),
        ),
        Criterion::PortSet { side, equal, set } => Key::new().port(*side).lookup(set, *equal),
        Criterion::Tuple { address, port, family, equal, set } => Key::new()
            .address(*address, *family)
            .meta(MetaKey::L4proto)
            .port(*port)
            .lookup(set, *equal),
    }
}

fn own_source(family: Family) -> Key {
    Key::new().meta(MetaKey::Iifgroup).address(Side::Source, family)
}

fn icmp_byte(offset: u32) -> Key {
    let mut key = Key::new();
    let dreg = key.next(1);
    key.exprs.push(Expr::Payload { base: Base::Transport, offset, len: 1, dreg });
    key
}

fn ct_state(state: CtState) -> Vec<Expr> {
    let bits = match state {
        CtState::Accepted => ct_state::ESTABLISHED | ct_state::RELATED,
        CtState::Invalid => ct_state::INVALID,
    };
    any_bit(CtKey::State, bits)
}

/// One of these bits is set.
fn any_bit(key: CtKey, bits: u32) -> Vec<Expr> {
    has_bit(Expr::Ct { key, dreg: FIRST }, bits)
}

/// One of these bits is set in what is loaded.
fn has_bit(load: Expr, bits: u32) -> Vec<Expr> {
    vec![load, masked(bits, 0), Expr::Cmp { op: CmpOp::Neq, sreg: FIRST, data: vec![0; 4] }]
}

/// Keeps some bits of a number, and inverts some.
fn masked(mask: u32, xor: u32) -> Expr {
    let [mask, xor] = [mask, xor].map(|bits| bits.to_ne_bytes().to_vec());
    Expr::Mask { sreg: FIRST, dreg: FIRST, mask, xor }
}

/// Sets one bit of the packet's mark, or takes it away; the others belong to others.
fn mark(set: bool) -> [Expr; 3] {
    let bit = HOST_ACCEPTED_MARK;
    [
        Expr::Meta { key: MetaKey::Mark, dreg: FIRST },
        masked(!bit, if set { bit } else { 0 }),
        Expr::SetMeta { key: MetaKey::Mark, sreg: FIRST },
    ]
}

/// A prefix of whole bytes loads only those; another is masked.
fn prefix(side: Side, equal: bool, net: ipnet::IpNet) -> Vec<Expr> {
    let mut key = Key::new().address(side, Family::of_net(net));
    let network = octets(net.network());
    if net.prefix_len().is_multiple_of(8) {
        let bytes = u32::from(net.prefix_len() / 8);
        if let Some(Expr::Payload { len, .. }) = key.exprs.last_mut() {
            *len = bytes;
        }
        return key.compare(equal, network[..bytes as usize].to_vec());
    }
    let mask = octets(net.netmask());
    let xor = vec![0; mask.len()];
    key.exprs.push(Expr::Mask { sreg: FIRST, dreg: FIRST, mask, xor });
    key.compare(equal, network)
}
