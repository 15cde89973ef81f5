//! A rule, as its options say (`xt_tcpudp.c`, `xt_multiport.c`, `xt_set.c` and others).

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;

use brindle_model::packet::ConnState;

use super::super::ip_set::{IpSets, protocol_number};
use super::super::skb::{Device, Skb, Tracking};

/// A rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    criteria: Vec<(bool, Criterion)>,
    /// The comment.
    pub comment: Option<String>,
    /// What it does.
    pub target: Target,
}

/// What a rule does with packets that match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    #[default]
    None,
    /// Tells of them over nfnetlink_log.
    Tell(String),
    /// They leave the table.
    Accept,
    /// They end.
    Drop,
    /// Back to where the last jump was.
    Return,
    /// Connection tracking keeps away from them.
    NoTrack,
    /// Zeroes the bits of the mask in the packet's mark, and toggles those of the value.
    Mark {
        /// To be toggled.
        value: u32,
        /// To be zeroed.
        mask: u32,
    },
    /// To a chain, and back.
    Jump(String),
    /// To a chain; it comes back to where the last jump was.
    Goto(String),
}

#[derive(Clone, Debug)]
enum Criterion {
    Interface {
        side: usize,
        name: String,
        prefix: bool,
    },
    Protocol(u8),
    Prefix {
        side: usize,
        net: IpNet,
    },
    /// Of TCP, UDP and others that have ports in the same place.
    Ports {
        side: usize,
        ranges: Vec<(u16, u16)>,
    },
    Icmp {
        first: u8,
        codes: (u8, u8),
    },
    Set {
        name: String,
        fields: String,
    },
    States(Vec<ConnState>),
    /// Of a connection's mark under whatever mask: no connection has a mark here.
    ConnectionMark(u32),
    /// Of the packet's mark under a mask.
    PacketMark(u32, u32),
    /// Of a bucket that is never empty.
    Limit,
}

/// The words of a line; one in double quotes may hold blanks.
pub fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').context("a quote is not closed")?,
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = match tail.strip_prefix(' ') {
            Some(tail) => tail,
            None => {
                ensure!(tail.is_empty(), "a quote within a word");
                tail
            }
        };
    }
    Ok(words)
}

impl Rule {
    /// Reads the options behind the chain's name.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut rule = Self::default();
        let mut modules: Vec<String> = Vec::new();
        let mut protocol = None;
        let mut words = words.iter().copied();
        let mut equal = true;
        while let Some(option) = words.next() {
            if option == "!" {
                ensure!(equal, "two negations");
                equal = false;
                continue;
            }
            let mut value = || words.next().with_context(|| format!("{option} without a value"));
            let needs = |module: &[&str]| -> Result<()> {
                let loaded = modules.iter().any(|m| module.contains(&m.as_str()));
                ensure!(loaded, "{option} without its module");
                Ok(())
            };
            let criterion = match option {
                "-i" | "-o" => {
                    let value = value()?;
                    let name = value.strip_suffix('+');
                    let prefix = name.is_some();
                    let name = name.unwrap_or(value).to_owned();
                    ensure!(name.len() < 16, "an interface's name of more than 15 bytes");
                    Criterion::Interface { side: usize::from(option == "-o"), name, prefix }
                }
                "-p" => {
                    let number = protocol_number(value()?)?;
                    // It would mean any.
                    ensure!(number != 0, "protocol 0");
                    protocol = Some((number, equal));
                    Criterion::Protocol(number)
                }
                "-s" | "-d" => {
                    let text = value()?;
                    let net: IpNet = match text.parse() {
                        Ok(net) => net,
                        Err(_) => text.parse::<std::net::IpAddr>()?.into(),
                    };
                    Criterion::Prefix { side: usize::from(option == "-d"), net }
                }
                "-m" => {
                    ensure!(equal, "a negated module");
                    let module = value()?;
                    let wanted: &[u8] = match module {
                        "tcp" => &[6],
                        "udp" => &[17],
                        "icmp" => &[1],
                        "icmp6" => &[58],
                        "multiport" => &[6, 17, 33, 132, 136],
                        "set" | "conntrack" | "connmark" | "mark" | "limit" | "comment" => &[],
                        other => bail!("module {other}"),
                    };
                    if !wanted.is_empty() {
                        let fits = protocol.is_some_and(|(p, equal)| equal && wanted.contains(&p));
                        ensure!(fits, "module {module} without its protocol");
                    }
                    modules.push(module.to_owned());
                    continue;
                }
                "--sport" | "--dport" => {
                    needs(&["tcp", "udp"])?;
                    let ranges = ranges(value()?)?;
                    ensure!(ranges.len() == 1, "several ports");
                    Criterion::Ports { side: usize::from(option == "--dport"), ranges }
                }
                "--sports" | "--dports" => {
                    needs(&["multiport"])?;
                    let ranges = ranges(value()?)?;
                    let slots: usize = ranges.iter().map(|(a, b)| if a == b { 1 } else { 2 }).sum();
                    ensure!(slots <= 15, "more than 15 ports");
                    Criterion::Ports { side: usize::from(option == "--dports"), ranges }
                }
                "--icmp-type" | "--icmpv6-type" => {
                    needs(&[if option == "--icmp-type" { "icmp" } else { "icmp6" }])?;
                    let text = value()?;
                    let (first, codes) = match text.split_once('/') {
                        Some((first, code)) => (first, (code.parse()?, code.parse()?)),
                        None => (text, (0, u8::MAX)),
                    };
                    let first = first.parse()?;
                    ensure!(first != u8::MAX, "type 255 means any");
                    Criterion::Icmp { first, codes }
                }
                "--match-set" => {
                    needs(&["set"])?;
                    Criterion::Set { name: value()?.to_owned(), fields: value()?.to_owned() }
                }
                "--ctstate" => {
                    needs(&["conntrack"])?;
                    let state = |word: &str| match word {
                        "NEW" => Ok(ConnState::New),
                        "ESTABLISHED" => Ok(ConnState::Established),
                        "RELATED" => Ok(ConnState::Related),
                        "INVALID" => Ok(ConnState::Invalid),
                        other => bail!("state {other}"),
                    };
                    Criterion::States(value()?.split(',').map(state).collect::<Result<_>>()?)
                }
                "--mark" => {
                    needs(&["connmark", "mark"])?;
                    let (value, mask) = masked(value()?)?;
                    // The module that was named last takes the option.
                    let last = modules.iter().rev().find(|m| matches!(&***m, "connmark" | "mark"));
                    match last.is_some_and(|module| module == "mark") {
                        true => Criterion::PacketMark(value, mask),
                        false => Criterion::ConnectionMark(value),
                    }
                }
                "--limit" => {
                    needs(&["limit"])?;
                    value()?;
                    Criterion::Limit
                }
                "--limit-burst" => {
                    needs(&["limit"])?;
                    value()?;
                    continue;
                }
                "--comment" => {
                    needs(&["comment"])?;
                    let text = value()?;
                    ensure!(text.len() < 256, "a comment of more than 255 bytes");
                    rule.comment = Some(text.to_owned());
                    continue;
                }
                "-j" => {
                    rule.target = match value()? {
                        "ACCEPT" => Target::Accept,
                        "DROP" => Target::Drop,
                        "RETURN" => Target::Return,
                        "NFLOG" => Target::Tell(String::new()),
                        "CT" => {
                            ensure!(value()? == "--notrack", "CT without --notrack");
                            Target::NoTrack
                        }
                        "MARK" => {
                            ensure!(value()? == "--set-xmark", "MARK without --set-xmark");
                            let (value, mask) = masked(value()?)?;
                            Target::Mark { value, mask }
                        }
                        chain => Target::Jump(chain.to_owned()),
                    };
                    continue;
                }
                "-g" => {
                    rule.target = Target::Goto(value()?.to_owned());
                    continue;
                }
                "--nflog-prefix" => {
                    let prefix = value()?;
                    ensure!(prefix.len() < 64, "a prefix of more than 63 bytes");
                    ensure!(matches!(rule.target, Target::Tell(_)), "a prefix of no NFLOG");
                    rule.target = Target::Tell(prefix.to_owned());
                    continue;
                }
                "--nflog-group" => {
                    value()?;
                    continue;
                }
                other => bail!("option {other}"),
            };
            rule.criteria.push((equal, criterion));
            equal = true;
        }
        Ok(rule)
    }

    /// Whether the kernel takes it in a table.
    ///
    /// # Errors
    /// It does not.
    pub fn is_valid_in(&self, table: &str) -> Result<()> {
        ensure!(self.target != Target::NoTrack || table == "raw", "CT in table {table}");
        Ok(())
    }

    /// The sets it asks.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.criteria.iter().filter_map(|(_, criterion)| match criterion {
            Criterion::Set { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a packet matches.
    ///
    /// # Errors
    /// A set cannot be asked so.
    pub fn matches(&self, skb: &Skb, sets: &IpSets) -> Result<bool> {
        for (equal, criterion) in &self.criteria {
            if criterion.holds(skb, sets)? != *equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `0x1000/0x1000`.
fn masked(text: &str) -> Result<(u32, u32)> {
    let (value, mask) = text.split_once('/').context("a mark without a mask")?;
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16);
    Ok((hex(value)?, hex(mask)?))
}

/// `80`, `80:90`, `80,443,1000:2000`.
fn ranges(text: &str) -> Result<Vec<(u16, u16)>> {
    let range = |word: &str| -> Result<(u16, u16)> {
        let (first, last) = word.split_once(':').unwrap_or((word, word));
        let (first, last) = (first.parse()?, last.parse()?);
        ensure!(first <= last, "a range that is none");
        Ok((first, last))
    };
    text.split(',').map(range).collect()
}

impl Criterion {
    fn holds(&self, skb: &Skb, sets: &IpSets) -> Result<bool> {
        Ok(match self {
            Self::Interface { side, name, prefix } => {
                let device: &Option<Device> = if *side == 0 { &skb.input } else { &skb.output };
                let actual = device.as_ref().map_or("", |device| &device.name);
                if *prefix { actual.starts_with(name.as_str()) } else { actual == name }
            }
            Self::Protocol(protocol) => skb.protocol == *protocol,
            Self::Prefix { side, net } => net.contains(&skb.addresses()[*side]),
            Self::Ports { side, ranges } => {
                let port = skb.port_bytes()[*side];
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
            }
            Self::Icmp { first, codes } => {
                let [icmp_type, code] = skb.port_bytes()[0].to_be_bytes();
                icmp_type == *first && (codes.0..=codes.1).contains(&code)
            }
            Self::Set { name, fields } => sets.test(name, fields, skb)?,
            Self::States(states) => match skb.tracking {
                Tracking::Done(state) => states.contains(&state),
                Tracking::Ahead(_) | Tracking::Untracked => false,
            },
            // What has no connection matches nothing.
            Self::ConnectionMark(value) => match skb.tracking {
                Tracking::Done(ConnState::Invalid) => false,
                _ => *value == 0,
            },
            Self::PacketMark(value, mask) => skb.mark & mask == *value,
            Self::Limit => true,
        })
    }
}
