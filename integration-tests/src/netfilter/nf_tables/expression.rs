//! Expressions over registers (`nft_meta.c`, `nft_payload.c`, `nft_cmp.c` and others).

use anyhow::{Result, bail, ensure};

use brindle_model::packet::ConnState;

use super::super::Walk;
use super::super::skb::{Device, Skb, Tracking};
use super::{NfTables, Verdict};

/// What a rule does next.
pub enum Next {
    /// The next expression.
    Continue,
    /// The next rule.
    Break,
    /// What was decided.
    Verdict(Verdict),
}

/// Twenty words, the first four of which hold the verdict.
#[derive(Clone, Debug)]
pub struct Registers([u8; 80]);

impl Default for Registers {
    fn default() -> Self {
        // What was not written has no meaning, so it should not look like one.
        Self([0xa5; 80])
    }
}

/// Where a register begins (`nft_parse_register`): 1 to 4 are of 16 bytes, 8 to 23 of 4 bytes over
/// the same room.
fn place(register: u32) -> Result<usize> {
    match register {
        1..=4 => Ok(register as usize * 16),
        8..=23 => Ok((register as usize - 8) * 4 + 16),
        other => bail!("no register {other}"),
    }
}

impl Registers {
    fn load(&mut self, register: u32, data: &[u8]) -> Result<()> {
        let from = place(register)?;
        // The rest of the last word is zero.
        let padded = data.len().next_multiple_of(4);
        ensure!(from + padded <= self.0.len(), "register {register} cannot hold {}", data.len());
        self.0[from..from + padded].fill(0);
        self.0[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn read(&self, register: u32, len: usize) -> Result<&[u8]> {
        let from = place(register)?;
        ensure!(from + len <= self.0.len(), "register {register} does not hold {len} bytes");
        Ok(&self.0[from..from + len])
    }
}

/// An expression, with the numbers of `linux/netfilter/nf_tables.h`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are the kernel's attributes")]
pub enum Expression {
    /// `nft_meta_get_eval`
    Meta { key: u32, register: u32 },
    /// `nft_meta_set_eval`
    SetMeta { key: u32, register: u32 },
    /// `nft_payload_eval`
    Payload { base: u32, offset: usize, len: usize, register: u32 },
    /// `nft_ct_get_eval`
    Ct { key: u32, register: u32 },
    /// `nft_cmp_eval`
    Cmp { op: u32, register: u32, data: Vec<u8> },
    /// `nft_range_eval`
    Range { op: u32, register: u32, from: Vec<u8>, to: Vec<u8> },
    /// `nft_bitwise_eval_bool`
    Bitwise { from: u32, to: u32, mask: Vec<u8>, xor: Vec<u8> },
    /// `nft_lookup_eval`
    Lookup { set: String, register: u32, map: bool, inverted: bool },
    /// `nft_counter_eval`
    Counter,
    /// `nft_limit_eval`, of a bucket that is never empty.
    Limit,
    /// `nft_log_eval`
    Log { prefix: String },
    /// `nft_notrack_eval`
    NoTrack,
    /// `nft_immediate_eval`
    Verdict(Verdict),
}

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

impl Expression {
    /// Runs it.
    pub fn run(
        &self,
        table: &NfTables,
        registers: &mut Registers,
        skb: &mut Skb,
        walk: &mut Walk,
    ) -> Result<Next> {
        let holds = match self {
            Self::Meta { key, register } => match meta(*key, skb)? {
                Some(data) => {
                    registers.load(*register, &data)?;
                    true
                }
                None => false,
            },
            Self::SetMeta { key, register } => {
                ensure!(*key == 3, "meta key {key} is set");
                let mark = registers.read(*register, 4)?.try_into().expect("four bytes");
                skb.mark = u32::from_ne_bytes(mark);
                true
            }
            Self::Payload { base, offset, len, register } => {
                let start = match base {
                    1 => 0,
                    2 => skb.transport,
                    other => bail!("payload base {other}"),
                };
                match skb.bytes.get(start + offset..start + offset + len) {
                    Some(data) => {
                        registers.load(*register, data)?;
                        true
                    }
                    None => false,
                }
            }
            Self::Ct { key, register } => match conntrack(*key, skb.tracking)? {
                Some(value) => {
                    registers.load(*register, &value.to_ne_bytes())?;
                    true
                }
                None => false,
            },
            Self::Cmp { op, register, data } => {
                let order = registers.read(*register, data.len())?.cmp(data.as_slice());
                match op {
                    0 => order.is_eq(),
                    1 => order.is_ne(),
                    2 => order.is_lt(),
                    3 => order.is_le(),
                    4 => order.is_gt(),
                    5 => order.is_ge(),
                    other => bail!("comparison {other}"),
                }
            }
            Self::Range { op, register, from, to } => {
                let value = registers.read(*register, from.len())?;
                let within = value >= from.as_slice() && value <= to.as_slice();
                match op {
                    0 => within,
                    1 => !within,
                    other => bail!("range {other}"),
                }
            }
            Self::Bitwise { from, to, mask, xor } => {
                let value = registers.read(*from, mask.len())?;
                let value: Vec<u8> =
                    value.iter().zip(mask).zip(xor).map(|((v, m), x)| (v & m) ^ x).collect();
                registers.load(*to, &value)?;
                true
            }
            Self::Lookup { set, register, map, inverted } => {
                let set = &table.sets[set];
                let found = set.find(registers.read(*register, set.key_len)?);
                match (found, map) {
                    (Some(Some(verdict)), true) => return Ok(Next::Verdict(verdict.clone())),
                    (found, _) => found.is_some() != *inverted,
                }
            }
            Self::Log { prefix } => {
                walk.told.push(prefix.clone());
                true
            }
            Self::NoTrack => {
                // An entry that is there stays.
                if let Tracking::Ahead(_) = skb.tracking {
                    skb.tracking = Tracking::Untracked;
                }
                true
            }
            Self::Counter | Self::Limit => true,
            Self::Verdict(verdict) => return Ok(Next::Verdict(verdict.clone())),
        };
        Ok(if holds { Next::Continue } else { Next::Break })
    }
}

fn meta(key: u32, skb: &Skb) -> Result<Option<Vec<u8>>> {
    let name = |device: &Option<Device>| {
        let mut bytes = device.as_ref().map_or_else(Vec::new, |d| d.name.as_bytes().to_vec());
        bytes.resize(16, 0);
        Some(bytes)
    };
    let group = |device: &Option<Device>| device.as_ref().map(|d| d.group.to_ne_bytes().to_vec());
    Ok(match key {
        3 => Some(skb.mark.to_ne_bytes().to_vec()),
        6 => name(&skb.input),
        7 => name(&skb.output),
        15 => Some(vec![if skb.is_v6() { NFPROTO_IPV6 } else { NFPROTO_IPV4 }]),
        16 => Some(vec![skb.protocol]),
        21 => group(&skb.input),
        22 => group(&skb.output),
        other => bail!("meta key {other}"),
    })
}

/// `NF_CT_STATE_BIT` and its neighbours; the mark of a connection that has none is 0.
fn conntrack(key: u32, tracking: Tracking) -> Result<Option<u32>> {
    let entry = match tracking {
        Tracking::Done(ConnState::Invalid) | Tracking::Ahead(_) => None,
        Tracking::Done(state) => Some(state),
        Tracking::Untracked => None,
    };
    Ok(match (key, entry) {
        (0, Some(ConnState::Established)) => Some(1 << 1),
        (0, Some(ConnState::Related)) => Some(1 << 2),
        (0, Some(_)) => Some(1 << 3),
        (0, None) if tracking == Tracking::Untracked => Some(1 << 6),
        (0, None) => Some(1),
        (3, entry) => entry.map(|_| 0),
        (other, _) => bail!("ct key {other}"),
    })
}
