//! What the kernel dumps of our table. Everything that is not understood compares unequal to what
//! is desired, so it is repaired; nothing here can panic on any bytes.

use std::collections::BTreeMap;

use brindle_model::Name;

use super::attr::{self, NFGENMSG, attrs, be32, find, tlv};
use super::numbers::{NFNL_SUBSYS_NFTABLES, attr as a, limit, msg, set, userdata, verdict};
use super::raw::{RawKey, SetNumbers};
use crate::expr::{Base, CmpOp, CtKey, Expr, MetaKey, VERDICT};
use crate::table::{TABLE, Verdict};

/// Our table as the kernel holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Flags and comment of the table, if it exists.
    pub table: Option<(u32, String)>,
    /// The chains, by name.
    pub chains: BTreeMap<Name, ChainDump>,
    /// The sets, by name.
    pub sets: BTreeMap<Name, SetDump>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainDump {
    /// Hook number and priority, type and policy, of a base chain.
    pub hook: Option<(u32, i32, String, u32)>,
    /// The comment.
    pub comment: String,
    /// The rules.
    pub rules: Vec<RuleDump>,
}

/// A rule; `None` if it has an expression that we never write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDump {
    /// The expressions.
    pub exprs: Option<Vec<Expr>>,
    /// The comment.
    pub comment: String,
    /// What its counter has counted, if it has one.
    pub counted: Option<Counted>,
}

/// Packets that a rule has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub packets: u64,
    /// Their length with the IP header.
    pub bytes: u64,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDump {
    /// What it is.
    pub numbers: SetNumbers,
    /// The comment.
    pub comment: String,
    /// The elements; `None` if one is of a kind that we never write.
    pub elements: Option<Vec<RawElement>>,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawElement {
    /// The key.
    pub key: RawKey,
    /// The verdict, in a map.
    pub verdict: Option<Verdict>,
}

/// Takes one datagram of a dump into the snapshot. Any bytes are legal: what is malformed, or is
/// not of table `inet brindle`, adds nothing.
pub fn decode(snapshot: &mut Snapshot, datagram: &[u8]) {
    for message in attr::messages(datagram) {
        let Some((header, body)) = message.payload.split_at_checked(NFGENMSG) else { continue };
        if message.kind >> 8 != NFNL_SUBSYS_NFTABLES
            || i32::from(header[0]) != libc::NFPROTO_INET
            || find(body, a::TABLE_NAME).and_then(attr::text) != Some(TABLE)
        {
            continue;
        }
        // An incomplete message is ignored; the object is then missing, and made anew.
        let _complete = match message.kind & 0xff {
            msg::NEWTABLE => table(snapshot, body),
            msg::NEWCHAIN => chain(snapshot, body),
            msg::NEWRULE => rule(snapshot, body),
            msg::NEWSET => new_set(snapshot, body),
            msg::NEWSETELEM => elements(snapshot, body),
            _ => None,
        };
    }
}

fn comment(data: Option<&[u8]>, kind: u8) -> String {
    let text = data.and_then(|data| tlv(data, kind)).and_then(attr::text);
    text.unwrap_or_default().to_owned()
}

fn table(snapshot: &mut Snapshot, body: &[u8]) -> Option<()> {
    let flags = be32(find(body, a::TABLE_FLAGS)?)?;
    let comment = comment(find(body, a::TABLE_USERDATA), userdata::TABLE_COMMENT);
    snapshot.table = Some((flags, comment));
    Some(())
}

fn chain(snapshot: &mut Snapshot, body: &[u8]) -> Option<()> {
    let name = attr::text(find(body, a::CHAIN_NAME)?)?;
    let hook = match find(body, a::CHAIN_HOOK) {
        None => None,
        Some(hook) => Some((
            be32(find(hook, a::HOOK_HOOKNUM)?)?,
            be32(find(hook, a::HOOK_PRIORITY)?)?.cast_signed(),
            attr::text(find(body, a::CHAIN_TYPE)?)?.to_owned(),
            be32(find(body, a::CHAIN_POLICY)?)?,
        )),
    };
    let chain = snapshot.chains.entry(name.into()).or_default();
    chain.hook = hook;
    chain.comment = comment(find(body, a::CHAIN_USERDATA), userdata::CHAIN_COMMENT);
    Some(())
}

fn rule(snapshot: &mut Snapshot, body: &[u8]) -> Option<()> {
    let chain = attr::text(find(body, a::RULE_CHAIN)?)?;
    let exprs = find(body, a::RULE_EXPRESSIONS).unwrap_or_default();
    let counted = attrs(exprs).find_map(|(_, data)| counter(data));
    let exprs = attrs(exprs).map(|(_, data)| expression(data)).collect();
    let comment = comment(find(body, a::RULE_USERDATA), userdata::RULE_COMMENT);
    let chain = snapshot.chains.entry(chain.into()).or_default();
    chain.rules.push(RuleDump { exprs, comment, counted });
    Some(())
}

fn new_set(snapshot: &mut Snapshot, body: &[u8]) -> Option<()> {
    let name = attr::text(find(body, a::SET_NAME)?)?;
    let number = |kind| find(body, kind).and_then(be32);
    let numbers = SetNumbers {
        // The kernel may or may not mark a concatenation; the key's type says it anyway.
        flags: number(a::SET_FLAGS).unwrap_or(0) & !set::CONCAT,
        key_type: number(a::SET_KEY_TYPE)?,
        key_len: number(a::SET_KEY_LEN)?,
        data_type: number(a::SET_DATA_TYPE),
        size: find(body, a::SET_DESC).and_then(|desc| find(desc, a::SET_DESC_SIZE)).and_then(be32),
    };
    let comment = comment(find(body, a::SET_USERDATA), userdata::SET_COMMENT);
    snapshot.sets.insert(name.into(), SetDump { numbers, comment, elements: Some(Vec::new()) });
    Some(())
}

fn elements(snapshot: &mut Snapshot, body: &[u8]) -> Option<()> {
    let name = attr::text(find(body, a::ELEMENTS_SET)?)?;
    let set = snapshot.sets.get_mut(name)?;
    for (_, data) in attrs(find(body, a::ELEMENTS_LIST)?) {
        match (element(data), &mut set.elements) {
            (Some(element), Some(all)) => all.push(element),
            (None, elements) => *elements = None,
            (Some(_), None) => {}
        }
    }
    Some(())
}

fn element(data: &[u8]) -> Option<RawElement> {
    let flags = find(data, a::ELEM_FLAGS).map_or(Some(0), be32)?;
    if flags & !set::INTERVAL_END != 0 || find(data, a::ELEM_TIMEOUT).is_some() {
        return None;
    }
    let key = find(find(data, a::ELEM_KEY)?, a::DATA_VALUE)?;
    let key = RawKey::new(key, flags & set::INTERVAL_END != 0)?;
    let verdict = match find(data, a::ELEM_DATA) {
        None => None,
        Some(data) => Some(decision(find(data, a::DATA_VERDICT)?)?),
    };
    Some(RawElement { key, verdict })
}

fn decision(data: &[u8]) -> Option<Verdict> {
    let chain = || find(data, a::VERDICT_CHAIN).and_then(attr::text).map(Name::from);
    match be32(find(data, a::VERDICT_CODE)?)? {
        verdict::ACCEPT => Some(Verdict::Accept),
        verdict::DROP => Some(Verdict::Drop),
        verdict::RETURN => Some(Verdict::Return),
        verdict::JUMP => Some(Verdict::Jump(chain()?)),
        verdict::GOTO => Some(Verdict::Goto(chain()?)),
        _ => None,
    }
}

/// An expression that we may have written, or nothing.
fn expression(data: &[u8]) -> Option<Expr> {
    let name = attr::text(find(data, a::EXPR_NAME)?)?;
    let data = find(data, a::EXPR_DATA).unwrap_or_default();
    let number = |kind| find(data, kind).and_then(be32);
    let value = |kind| find(find(data, kind)?, a::DATA_VALUE).map(<[u8]>::to_vec);
    match name {
        "meta" => {
            let key = meta_key(number(a::META_KEY)?)?;
            match (number(a::META_DREG), number(a::META_SREG)) {
                (Some(dreg), None) => Some(Expr::Meta { key, dreg }),
                (None, Some(sreg)) => Some(Expr::SetMeta { key, sreg }),
                _ => None,
            }
        }
        "notrack" => Some(Expr::NoTrack),
        "ct" => Some(Expr::Ct { key: ct_key(number(a::CT_KEY)?)?, dreg: number(a::CT_DREG)? }),
        "payload" => Some(Expr::Payload {
            base: base(number(a::PAYLOAD_BASE)?)?,
            offset: number(a::PAYLOAD_OFFSET)?,
            len: number(a::PAYLOAD_LEN)?,
            dreg: number(a::PAYLOAD_DREG)?,
        }),
        "cmp" => Some(Expr::Cmp {
            op: cmp_op(number(a::CMP_OP)?)?,
            sreg: number(a::CMP_SREG)?,
            data: value(a::CMP_DATA)?,
        }),
        "range" => Some(Expr::Range {
            op: if number(a::RANGE_OP)? == 0 { CmpOp::Eq } else { CmpOp::Neq },
            sreg: number(a::RANGE_SREG)?,
            from: value(a::RANGE_FROM)?,
            to: value(a::RANGE_TO)?,
        }),
        "bitwise" => mask(data),
        "lookup" => Some(Expr::Lookup {
            set: attr::text(find(data, a::LOOKUP_SET)?)?.into(),
            sreg: number(a::LOOKUP_SREG)?,
            map: match number(a::LOOKUP_DREG) {
                None => false,
                Some(VERDICT) => true,
                Some(_) => return None,
            },
            inverted: match number(a::LOOKUP_FLAGS) {
                None | Some(0) => false,
                Some(set::LOOKUP_INVERTED) => true,
                Some(_) => return None,
            },
        }),
        "counter" => Some(Expr::Counter),
        "limit" => rate_limit(data),
        // Other attributes change what is told, or where.
        "log" => attrs(data)
            .all(|(kind, _)| matches!(kind, a::LOG_GROUP | a::LOG_PREFIX))
            .then_some(Expr::Log {
                group: u16::from_be_bytes(find(data, a::LOG_GROUP)?.try_into().ok()?),
                prefix: attr::text(find(data, a::LOG_PREFIX)?)?.into(),
            }),
        "immediate" if number(a::IMMEDIATE_DREG)? == VERDICT => {
            let data = find(data, a::IMMEDIATE_DATA)?;
            Some(Expr::Immediate(decision(find(data, a::DATA_VERDICT)?)?))
        }
        _ => None,
    }
}

/// What a counter holds; `None` for other expressions.
fn counter(data: &[u8]) -> Option<Counted> {
    if attr::text(find(data, a::EXPR_NAME)?)? != "counter" {
        return None;
    }
    let data = find(data, a::EXPR_DATA)?;
    let number = |kind| Some(u64::from_be_bytes(find(data, kind)?.try_into().ok()?));
    Some(Counted { packets: number(a::COUNTER_PACKETS)?, bytes: number(a::COUNTER_BYTES)? })
}

fn rate_limit(data: &[u8]) -> Option<Expr> {
    let number = |kind| find(data, kind).and_then(be32);
    let long = |kind| Some(u64::from_be_bytes(find(data, kind)?.try_into().ok()?));
    let per_second = number(a::LIMIT_BURST)?;
    let plain = long(a::LIMIT_RATE)? == u64::from(per_second)
        && long(a::LIMIT_UNIT)? == limit::SECOND
        && number(a::LIMIT_TYPE).unwrap_or(0) == limit::PACKETS
        && number(a::LIMIT_FLAGS).unwrap_or(0) == 0;
    plain.then_some(Expr::Limit { per_second })
}

fn mask(data: &[u8]) -> Option<Expr> {
    let number = |kind| find(data, kind).and_then(be32);
    let value = |kind| find(find(data, kind)?, a::DATA_VALUE);
    let (mask, xor) = (value(a::BITWISE_MASK)?, value(a::BITWISE_XOR)?);
    let plain = number(a::BITWISE_OP).unwrap_or(0) == 0
        && xor.len() == mask.len()
        && number(a::BITWISE_LEN)? as usize == mask.len();
    plain.then_some(Expr::Mask {
        sreg: number(a::BITWISE_SREG)?,
        dreg: number(a::BITWISE_DREG)?,
        mask: mask.to_vec(),
        xor: xor.to_vec(),
    })
}

fn meta_key(number: u32) -> Option<MetaKey> {
    let keys = [
        MetaKey::Mark,
        MetaKey::Iifname,
        MetaKey::Oifname,
        MetaKey::Nfproto,
        MetaKey::L4proto,
        MetaKey::Iifgroup,
        MetaKey::Oifgroup,
    ];
    keys.into_iter().find(|key| *key as u32 == number)
}

fn ct_key(number: u32) -> Option<CtKey> {
    [CtKey::State, CtKey::Mark].into_iter().find(|key| *key as u32 == number)
}

fn base(number: u32) -> Option<Base> {
    [Base::Network, Base::Transport].into_iter().find(|base| *base as u32 == number)
}

fn cmp_op(number: u32) -> Option<CmpOp> {
    let ops = [CmpOp::Eq, CmpOp::Neq, CmpOp::Lte, CmpOp::Gte];
    ops.into_iter().find(|op| *op as u32 == number)
}
