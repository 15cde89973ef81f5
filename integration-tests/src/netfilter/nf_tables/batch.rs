//! Reading a batch (`nf_tables_api.c`). Numbers are those of `linux/netfilter/nf_tables.h`.

use anyhow::{Context, Result, bail, ensure};

use brindle_dataplane_core::nfnetlink::{NFGENMSG, attrs, be32, find, messages, text};

use super::{Chain, Element, Expression, Hook, NfTables, Rule, Set, Verdict};

const INET: u8 = 1;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// Carries out the messages of a batch.
pub fn carry_out(table: &mut NfTables, bytes: &[u8]) -> Result<()> {
    let mut made = false;
    let mut ended = false;
    for message in messages(bytes) {
        ensure!(!ended, "a message after the end");
        let header = message.payload.get(..NFGENMSG).context("a message without a header")?;
        let body = &message.payload[NFGENMSG..];
        match (message.kind >> 8, message.kind & 0xff) {
            (0, BATCH_BEGIN) => continue,
            (0, BATCH_END) => {
                ended = true;
                continue;
            }
            (SUBSYSTEM, kind) => {
                ensure!(header[0] == INET, "family {}", header[0]);
                string(body, 1)?;
                ensure!(made || kind == 0, "there is no table yet");
                match kind {
                    0 => {
                        ensure!(number(body, 2)? == 0, "a table with flags");
                        made = true;
                    }
                    3 => add_chain(table, body)?,
                    6 => add_rule(table, body)?,
                    9 => add_set(table, body)?,
                    12 => add_elements(table, body)?,
                    other => bail!("message {other}"),
                }
            }
            other => bail!("message {other:?}"),
        }
    }
    ensure!(ended, "a batch without an end does nothing");
    Ok(())
}

fn string(body: &[u8], kind: u16) -> Result<String> {
    let data = find(body, kind).with_context(|| format!("no attribute {kind}"))?;
    Ok(text(data).with_context(|| format!("attribute {kind} is no text"))?.to_owned())
}

fn number(body: &[u8], kind: u16) -> Result<u32> {
    let data = find(body, kind).and_then(be32);
    data.with_context(|| format!("no number {kind}"))
}

/// The comment that `nft` keeps in userdata: type, length, text.
fn comment(body: &[u8], kind: u16) -> String {
    let data = find(body, kind).unwrap_or_default();
    let value = match data {
        [0, len, rest @ ..] => rest.get(..usize::from(*len)).unwrap_or_default(),
        _ => &[],
    };
    text(value).unwrap_or_default().to_owned()
}

fn add_chain(table: &mut NfTables, body: &[u8]) -> Result<()> {
    let name = string(body, 3)?;
    let hook = match find(body, 4) {
        None => None,
        Some(hook) => {
            ensure!(string(body, 7)? == "filter", "a chain of another type");
            let at = match number(hook, 1)? {
                0 => Hook::Prerouting,
                1 => Hook::Input,
                2 => Hook::Forward,
                3 => Hook::Output,
                other => bail!("hook {other}"),
            };
            let accept = find(body, 5).and_then(be32).is_none_or(|policy| policy == 1);
            Some((at, number(hook, 2)?.cast_signed(), accept))
        }
    };
    let chain = Chain { hook, rules: Vec::new() };
    ensure!(table.chains.insert(name, chain).is_none(), "a chain twice");
    Ok(())
}

fn add_rule(table: &mut NfTables, body: &[u8]) -> Result<()> {
    let chain = string(body, 2)?;
    let list = find(body, 4).context("a rule without expressions")?;
    let expressions = attrs(list).map(|(_, data)| expression(data)).collect::<Result<_>>()?;
    let rule = Rule { expressions, comment: comment(body, 7) };
    table.chains.get_mut(&chain).with_context(|| format!("no chain {chain}"))?.rules.push(rule);
    Ok(())
}

fn add_set(table: &mut NfTables, body: &[u8]) -> Result<()> {
    let flags = find(body, 3).and_then(be32).unwrap_or(0);
    let (interval, map) = (flags & 4 != 0, flags & 8 != 0);
    ensure!(flags & !(4 | 8) == 0, "set flags {flags:#x}");
    ensure!(!map || number(body, 6)? == 0xffff_ff00, "a map to something else than verdicts");
    let size = find(body, 9).and_then(|desc| find(desc, 1)).and_then(be32);
    let set = Set {
        map,
        interval,
        key_len: number(body, 5)? as usize,
        size: size.map(|size| size as usize),
        elements: Default::default(),
    };
    ensure!(table.sets.insert(string(body, 2)?, set).is_none(), "a set twice");
    Ok(())
}

fn add_elements(table: &mut NfTables, body: &[u8]) -> Result<()> {
    let name = string(body, 2)?;
    let set = table.sets.get_mut(&name).with_context(|| format!("no set {name}"))?;
    for (_, data) in attrs(find(body, 3).context("no elements")?) {
        let flags = find(data, 3).and_then(be32).unwrap_or(0);
        ensure!(flags & !1 == 0, "element flags {flags:#x}");
        let key = find(data, 1).and_then(|key| find(key, 1)).context("an element without a key")?;
        let verdict = find(data, 2).map(decision).transpose()?;
        let element = Element { key: key.to_vec(), begins: flags & 1 == 0 };
        set.add(element, verdict).with_context(|| format!("set {name}"))?;
    }
    Ok(())
}

/// `NFTA_DATA_VERDICT`.
fn decision(data: &[u8]) -> Result<Verdict> {
    let data = find(data, 2).context("no verdict")?;
    Ok(match number(data, 1)?.cast_signed() {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -3 => Verdict::Jump(string(data, 2)?),
        -4 => Verdict::Goto(string(data, 2)?),
        -5 => Verdict::Return,
        other => bail!("verdict {other}"),
    })
}

fn expression(item: &[u8]) -> Result<Expression> {
    let data = find(item, 2).unwrap_or_default();
    let value = |kind| -> Result<Vec<u8>> {
        let nested = find(data, kind).and_then(|data| find(data, 1));
        Ok(nested.with_context(|| format!("no value {kind}"))?.to_vec())
    };
    Ok(match &*string(item, 1)? {
        "meta" => match find(data, 1) {
            Some(_) => Expression::Meta { key: number(data, 2)?, register: number(data, 1)? },
            None => Expression::SetMeta { key: number(data, 2)?, register: number(data, 3)? },
        },
        "payload" => Expression::Payload {
            register: number(data, 1)?,
            base: number(data, 2)?,
            offset: number(data, 3)? as usize,
            len: number(data, 4)? as usize,
        },
        "ct" => Expression::Ct { register: number(data, 1)?, key: number(data, 2)? },
        "cmp" => {
            Expression::Cmp { register: number(data, 1)?, op: number(data, 2)?, data: value(3)? }
        }
        "range" => Expression::Range {
            register: number(data, 1)?,
            op: number(data, 2)?,
            from: value(3)?,
            to: value(4)?,
        },
        "bitwise" => {
            let (mask, xor) = (value(4)?, value(5)?);
            let len = number(data, 3)? as usize;
            ensure!(mask.len() == len && xor.len() == len, "masks of another length");
            Expression::Bitwise { from: number(data, 1)?, to: number(data, 2)?, mask, xor }
        }
        "lookup" => {
            let map = match find(data, 3).and_then(be32) {
                None => false,
                Some(0) => true,
                Some(other) => bail!("a lookup into register {other}"),
            };
            let inverted = find(data, 5).and_then(be32).unwrap_or(0) & 1 != 0;
            let register = number(data, 2)?;
            Expression::Lookup { set: string(data, 1)?, register, map, inverted }
        }
        "counter" => Expression::Counter,
        "limit" => Expression::Limit,
        "log" => Expression::Log { prefix: string(data, 2)? },
        "notrack" => Expression::NoTrack,
        "immediate" => {
            ensure!(number(data, 1)? == 0, "an immediate that is no verdict");
            Expression::Verdict(decision(find(data, 2).context("no verdict")?)?)
        }
        other => bail!("expression {other}"),
    })
}
