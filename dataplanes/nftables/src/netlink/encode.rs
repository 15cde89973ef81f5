//! A program as one netlink batch: one transaction.

use brindle_model::Name;

use super::attr::{self as frame, NFGENMSG, NLMSG_HEADER, Writer, comment_tlv};
use super::numbers::{
    NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, attr, hook,
    limit, msg, set, userdata, verdict,
};
use super::raw::{RawKey, host_order, raw_keys, set_numbers};
use crate::expr::{CmpOp, Expr, Register, VERDICT};
use crate::program::{Command, Program};
use crate::rule::Rule;
use crate::table::{Element, Hook, HookPoint, SetSpec, TABLE, TABLE_COMMENT, Verdict};

/// A list of elements is one attribute, whose length is 16 bits; an element takes at most 300
/// bytes here (two keys of an interval, a verdict with a chain name, a comment), and a chain name
/// as much again.
const MAX_LIST: usize = 60_000;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const EXCL: u16 = libc::NLM_F_EXCL as u16;

/// A batch, ready to be sent.
pub struct Encoded {
    /// The messages.
    pub bytes: Vec<u8>,
    /// Sequence number of the batch's first message, its frame.
    pub begin: u32,
    /// Sequence number of the last real message, which asks for an acknowledgement.
    pub last: u32,
    /// First sequence number of each command.
    firsts: Vec<u32>,
}

impl Encoded {
    /// The batch without its end: the kernel checks and answers all of it, and undoes it
    /// (`nft --check` does the same).
    pub fn without_end(mut self) -> Self {
        self.bytes.truncate(self.bytes.len() - NLMSG_HEADER - NFGENMSG);
        self
    }

    /// The command that a message belongs to.
    pub fn command(&self, seq: u32) -> Option<usize> {
        self.firsts.partition_point(|first| *first <= seq).checked_sub(1)
    }
}

/// Encodes a program for the given generation of the kernel's tables: it fails as a whole if
/// somebody has changed any table since. Sequence numbers begin at `seq`.
pub fn encode(program: &Program, generation: u32, seq: u32) -> Encoded {
    let mut encoder = Encoder { writer: Writer::default(), seq, last_flags_at: 0 };
    encoder.writer.message(NFNL_MSG_BATCH_BEGIN, REQUEST, seq, 0, NFNL_SUBSYS_NFTABLES, |w| {
        w.u32(NFNL_BATCH_GENID, generation)
    });
    let mut firsts = Vec::with_capacity(program.commands.len());
    for command in &program.commands {
        firsts.push(encoder.seq + 1);
        encoder.command(command);
    }
    let Encoder { mut writer, seq: last, last_flags_at } = encoder;
    if last != seq {
        let flags =
            u16::from_ne_bytes([writer.buffer[last_flags_at], writer.buffer[last_flags_at + 1]]);
        writer.buffer[last_flags_at..last_flags_at + 2]
            .copy_from_slice(&(flags | ACK).to_ne_bytes());
    }
    writer.message(NFNL_MSG_BATCH_END, REQUEST, last + 1, 0, NFNL_SUBSYS_NFTABLES, |_| {});
    Encoded { bytes: writer.buffer, begin: seq, last, firsts }
}

struct Encoder {
    writer: Writer,
    seq: u32,
    /// Where the last message's flags are.
    last_flags_at: usize,
}

impl Encoder {
    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        self.seq += 1;
        self.last_flags_at = self.writer.buffer.len() + 6;
        frame::message(&mut self.writer, kind, REQUEST | flags, self.seq, body);
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::AddTable => self.message(msg::NEWTABLE, CREATE | EXCL, |w| {
                w.string(attr::TABLE_NAME, TABLE);
                w.u32(attr::TABLE_FLAGS, 0);
                let comment = comment_tlv(userdata::TABLE_COMMENT, TABLE_COMMENT);
                w.attr(attr::TABLE_USERDATA, &comment);
            }),
            Command::DeleteTable => {
                self.message(msg::DELTABLE, 0, |w| w.string(attr::TABLE_NAME, TABLE));
            }
            Command::AddSet { name, spec } => self.add_set(name, spec),
            Command::DeleteSet { name, .. } => self.message(msg::DELSET, 0, |w| {
                w.string(attr::SET_TABLE, TABLE);
                w.string(attr::SET_NAME, name);
            }),
            Command::FlushSet { name, .. } => self.message(msg::DELSETELEM, 0, |w| {
                w.string(attr::ELEMENTS_TABLE, TABLE);
                w.string(attr::ELEMENTS_SET, name);
            }),
            Command::AddElements { set, elements, .. } => {
                self.elements(msg::NEWSETELEM, CREATE, set, elements, true);
            }
            Command::DeleteElements { set, elements, .. } => {
                self.elements(msg::DELSETELEM, 0, set, elements, false);
            }
            Command::AddChain { name, hook, comment } => {
                self.message(msg::NEWCHAIN, CREATE | EXCL, |w| {
                    w.string(attr::CHAIN_TABLE, TABLE);
                    w.string(attr::CHAIN_NAME, name);
                    if let Some(hook) = hook {
                        base_chain(w, *hook);
                    }
                    userdata_attr(w, attr::CHAIN_USERDATA, userdata::CHAIN_COMMENT, comment);
                });
            }
            Command::DeleteChain { name } => self.message(msg::DELCHAIN, 0, |w| {
                w.string(attr::CHAIN_TABLE, TABLE);
                w.string(attr::CHAIN_NAME, name);
            }),
            Command::FlushChain { name } => self.message(msg::DELRULE, 0, |w| {
                w.string(attr::RULE_TABLE, TABLE);
                w.string(attr::RULE_CHAIN, name);
            }),
            Command::AddRule { chain, rule } => self.add_rule(chain, rule),
        }
    }

    fn add_set(&mut self, name: &Name, spec: &SetSpec) {
        let numbers = set_numbers(spec);
        // An id lets later messages of one batch refer to the set; names do, so any will do.
        let id = self.seq;
        self.message(msg::NEWSET, CREATE | EXCL, |w| {
            w.string(attr::SET_TABLE, TABLE);
            w.string(attr::SET_NAME, name);
            w.u32(attr::SET_FLAGS, numbers.flags);
            w.u32(attr::SET_KEY_TYPE, numbers.key_type);
            w.u32(attr::SET_KEY_LEN, numbers.key_len);
            if let Some(data_type) = numbers.data_type {
                w.u32(attr::SET_DATA_TYPE, data_type);
                w.u32(attr::SET_DATA_LEN, 0);
            }
            if let Some(size) = numbers.size {
                w.nest(attr::SET_DESC, |w| w.u32(attr::SET_DESC_SIZE, size));
            }
            w.u32(attr::SET_ID, id);
            w.attr(attr::SET_USERDATA, &set_userdata(spec));
        });
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &Name, elements: &[Element], values: bool) {
        let mut rest = elements;
        while !rest.is_empty() {
            let all = rest;
            let mut taken = 0;
            self.message(kind, flags, |w| {
                w.string(attr::ELEMENTS_TABLE, TABLE);
                w.string(attr::ELEMENTS_SET, set);
                w.nest(attr::ELEMENTS_LIST, |w| {
                    let start = w.buffer.len();
                    for element in all {
                        if w.buffer.len() - start > MAX_LIST {
                            break;
                        }
                        element_attrs(w, element, values);
                        taken += 1;
                    }
                });
            });
            rest = &rest[taken..];
        }
    }

    fn add_rule(&mut self, chain: &Name, rule: &Rule) {
        self.message(msg::NEWRULE, CREATE | APPEND, |w| {
            w.string(attr::RULE_TABLE, TABLE);
            w.string(attr::RULE_CHAIN, chain);
            w.nest(attr::RULE_EXPRESSIONS, |w| {
                for expr in rule.exprs() {
                    w.nest(attr::LIST_ELEM, |w| expression(w, &expr));
                }
            });
            userdata_attr(w, attr::RULE_USERDATA, userdata::RULE_COMMENT, &rule.comment);
        });
    }
}

fn userdata_attr(w: &mut Writer, kind: u16, tlv: u8, comment: &str) {
    if !comment.is_empty() {
        w.attr(kind, &comment_tlv(tlv, comment));
    }
}

/// What `nft` notes of a set: the key's byte order, and the comment.
fn set_userdata(spec: &SetSpec) -> Vec<u8> {
    let order = match host_order(spec) {
        Some(true) => userdata::HOST_ORDER,
        Some(false) => userdata::NETWORK_ORDER,
        None => 0,
    };
    let mut data = vec![userdata::SET_KEY_BYTE_ORDER, 4];
    data.extend_from_slice(&order.to_ne_bytes());
    data.extend(comment_tlv(userdata::SET_COMMENT, &spec.comment));
    data
}

fn base_chain(w: &mut Writer, hook: Hook) {
    w.string(attr::CHAIN_TYPE, "filter");
    w.u32(attr::CHAIN_POLICY, verdict::ACCEPT);
    w.nest(attr::CHAIN_HOOK, |w| {
        w.u32(attr::HOOK_HOOKNUM, hook_number(hook.point));
        w.u32(attr::HOOK_PRIORITY, hook.priority.cast_unsigned());
    });
}

/// The hook's number.
pub fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Input => hook::INPUT,
        HookPoint::Forward => hook::FORWARD,
        HookPoint::Prerouting => hook::PREROUTING,
        HookPoint::Output => hook::OUTPUT,
    }
}

fn element_attrs(w: &mut Writer, element: &Element, values: bool) {
    let (start, end) = raw_keys(&element.key);
    w.nest(attr::LIST_ELEM, |w| {
        element_key(w, &start);
        if !values {
            return;
        }
        if let Some(verdict) = &element.verdict {
            w.nest(attr::ELEM_DATA, |w| verdict_attr(w, verdict));
        }
        userdata_attr(w, attr::ELEM_USERDATA, userdata::ELEM_COMMENT, &element.comment);
    });
    if let Some(end) = end {
        w.nest(attr::LIST_ELEM, |w| element_key(w, &end));
    }
}

fn element_key(w: &mut Writer, key: &RawKey) {
    if key.end {
        w.u32(attr::ELEM_FLAGS, set::INTERVAL_END);
    }
    w.nest(attr::ELEM_KEY, |w| w.attr(attr::DATA_VALUE, key.bytes()));
}

fn verdict_attr(w: &mut Writer, decision: &Verdict) {
    let (code, chain) = match decision {
        Verdict::Accept => (verdict::ACCEPT, None),
        Verdict::Drop => (verdict::DROP, None),
        Verdict::Return => (verdict::RETURN, None),
        Verdict::Jump(chain) => (verdict::JUMP, Some(chain)),
        Verdict::Goto(chain) => (verdict::GOTO, Some(chain)),
    };
    w.nest(attr::DATA_VERDICT, |w| {
        w.u32(attr::VERDICT_CODE, code);
        if let Some(chain) = chain {
            w.string(attr::VERDICT_CHAIN, chain);
        }
    });
}

fn expression(w: &mut Writer, expr: &Expr) {
    w.string(attr::EXPR_NAME, expr.name());
    w.nest(attr::EXPR_DATA, |w| match expr {
        Expr::Meta { key, dreg } => {
            w.u32(attr::META_KEY, *key as u32);
            w.u32(attr::META_DREG, *dreg);
        }
        Expr::Ct { key, dreg } => {
            w.u32(attr::CT_KEY, *key as u32);
            w.u32(attr::CT_DREG, *dreg);
        }
        Expr::Payload { base, offset, len, dreg } => {
            w.u32(attr::PAYLOAD_DREG, *dreg);
            w.u32(attr::PAYLOAD_BASE, *base as u32);
            w.u32(attr::PAYLOAD_OFFSET, *offset);
            w.u32(attr::PAYLOAD_LEN, *len);
        }
        Expr::Cmp { op, sreg, data } => {
            w.u32(attr::CMP_SREG, *sreg);
            w.u32(attr::CMP_OP, *op as u32);
            w.nest(attr::CMP_DATA, |w| w.attr(attr::DATA_VALUE, data));
        }
        Expr::Range { op, sreg, from, to } => {
            w.u32(attr::RANGE_SREG, *sreg);
            w.u32(attr::RANGE_OP, u32::from(*op == CmpOp::Neq));
            w.nest(attr::RANGE_FROM, |w| w.attr(attr::DATA_VALUE, from));
            w.nest(attr::RANGE_TO, |w| w.attr(attr::DATA_VALUE, to));
        }
        Expr::Mask { sreg, dreg, mask, xor } => mask_attrs(w, *sreg, *dreg, mask, xor),
        Expr::SetMeta { key, sreg } => {
            w.u32(attr::META_KEY, *key as u32);
            w.u32(attr::META_SREG, *sreg);
        }
        Expr::Lookup { set: name, sreg, map, inverted } => {
            w.string(attr::LOOKUP_SET, name);
            w.u32(attr::LOOKUP_SREG, *sreg);
            if *map {
                w.u32(attr::LOOKUP_DREG, VERDICT);
            }
            if *inverted {
                w.u32(attr::LOOKUP_FLAGS, set::LOOKUP_INVERTED);
            }
        }
        Expr::Counter | Expr::NoTrack => {}
        Expr::Limit { per_second } => {
            w.attr(attr::LIMIT_RATE, &u64::from(*per_second).to_be_bytes());
            w.attr(attr::LIMIT_UNIT, &limit::SECOND.to_be_bytes());
            w.u32(attr::LIMIT_BURST, *per_second);
            w.u32(attr::LIMIT_TYPE, limit::PACKETS);
            w.u32(attr::LIMIT_FLAGS, 0);
        }
        Expr::Log { group, prefix } => {
            w.string(attr::LOG_PREFIX, prefix);
            w.attr(attr::LOG_GROUP, &group.to_be_bytes());
        }
        Expr::Immediate(verdict) => {
            w.u32(attr::IMMEDIATE_DREG, VERDICT);
            w.nest(attr::IMMEDIATE_DATA, |w| verdict_attr(w, verdict));
        }
    });
}

fn mask_attrs(w: &mut Writer, sreg: Register, dreg: Register, mask: &[u8], xor: &[u8]) {
    w.u32(attr::BITWISE_SREG, sreg);
    w.u32(attr::BITWISE_DREG, dreg);
    w.u32(attr::BITWISE_LEN, u32::try_from(mask.len()).expect("a mask is at most 16 bytes"));
    w.nest(attr::BITWISE_MASK, |w| w.attr(attr::DATA_VALUE, mask));
    w.nest(attr::BITWISE_XOR, |w| w.attr(attr::DATA_VALUE, xor));
}

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::NoTrack => "notrack",
            Self::Payload { .. } => "payload",
            Self::Ct { .. } => "ct",
            Self::Cmp { .. } => "cmp",
            Self::Range { .. } => "range",
            Self::Mask { .. } => "bitwise",
            Self::Lookup { .. } => "lookup",
            Self::Counter => "counter",
            Self::Limit { .. } => "limit",
            Self::Log { .. } => "log",
            Self::Immediate(_) => "immediate",
        }
    }
}
