//! `BGPFilter`.
//!
//! A filter is whole or absent: without one rule, the ones behind it would decide what it was to
//! decide. A neighbour that names an absent filter gets and gives nothing.

use std::net::IpAddr;

use brindle_api::{BgpFilterOperation, BgpFilterRange, BgpFilterRule, BgpFilterSpec};
use brindle_model::net::Family;
use brindle_model::routing::filter::{
    BgpFilter, Community, FilterAction, FilterRule, MatchOperator, Operation, PeerType, PrefixMatch,
};
use ipnet::IpNet;

use super::bgp::as_number;
use super::cidr;
use super::community;
use crate::problem::Problems;

/// Most rules of a list.
const MAX_RULES: usize = 1024;
/// Most entries of a list in a rule.
const MAX_ENTRIES: usize = 10;

/// Converts a filter; `None` if any of it is broken.
pub(super) fn filter(spec: &BgpFilterSpec, problems: &mut Problems) -> Option<BgpFilter> {
    let before = problems.errors();
    let mut list = |rules: &[BgpFilterRule], family, name: &str, export: bool| {
        if rules.len() > MAX_RULES {
            let message = format!("has {} rules, more than {MAX_RULES}", rules.len());
            problems.error(format!("spec.{name}"), message);
            return Vec::new();
        }
        let rule = |(i, rule): (usize, &BgpFilterRule)| {
            let mut reader =
                Reader { at: format!("spec.{name}[{i}]"), family, problems: &mut *problems };
            reader.rule(rule, export)
        };
        rules.iter().enumerate().filter_map(rule).collect()
    };
    let filter = BgpFilter {
        import_v4: list(&spec.import_v4, Family::V4, "importV4", false),
        import_v6: list(&spec.import_v6, Family::V6, "importV6", false),
        export_v4: list(&spec.export_v4, Family::V4, "exportV4", true),
        export_v6: list(&spec.export_v6, Family::V6, "exportV6", true),
    };
    (problems.errors() == before).then_some(filter)
}

/// Reads one rule; whatever is broken goes to the problems, and then the filter is absent.
struct Reader<'a> {
    at: String,
    family: Family,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn error(&mut self, field: &str, message: impl Into<String>) {
        self.problems.error(format!("{}.{field}", self.at), message);
    }

    fn rule(&mut self, rule: &BgpFilterRule, export: bool) -> Option<FilterRule> {
        let learned = match rule.source.as_deref() {
            None => false,
            Some("RemotePeers") if export => true,
            Some("RemotePeers") => {
                self.error("source", "everything that is imported comes from neighbours");
                false
            }
            Some(other) => {
                self.error("source", format!("`{other}` is not RemotePeers"));
                false
            }
        };
        let peer_type = rule.peer_type.as_deref().and_then(|text| match text {
            "eBGP" => Some(PeerType::External),
            "iBGP" => Some(PeerType::Internal),
            other => {
                self.error("peerType", format!("`{other}` is not one of eBGP, iBGP"));
                None
            }
        });
        let communities = rule.communities.as_ref();
        let communities = communities.map(|c| self.communities(&c.values, "communities.values"));
        Some(FilterRule {
            prefix: self.prefix(rule),
            learned,
            peer_type,
            communities: communities.unwrap_or_default(),
            as_path_prefix: self.as_numbers(&rule.as_path_prefix, "asPathPrefix"),
            as_path_contains: self.as_numbers(&rule.as_path_contains, "asPathContains"),
            as_path_length: rule.as_path_length.and_then(|range| self.path_length(range)),
            origin_as: rule.origin_as.and_then(|number| self.as_number(number, "originAS")),
            next_hop: rule.next_hop.as_deref().and_then(|text| self.net(text, "nextHop")),
            action: self.action(rule)?,
        })
    }

    fn prefix(&mut self, rule: &BgpFilterRule) -> Option<PrefixMatch> {
        let (cidr, operator) = match (&rule.cidr, &rule.match_operator) {
            (Some(cidr), Some(operator)) => (cidr, operator),
            (None, None) => {
                if rule.prefix_length.is_some() {
                    self.error("prefixLength", "needs cidr and matchOperator");
                }
                return None;
            }
            _ => {
                self.error("cidr", "cidr and matchOperator go together");
                return None;
            }
        };
        let operator = match operator.as_str() {
            "Equal" => MatchOperator::Equal,
            "NotEqual" => MatchOperator::NotEqual,
            "In" => MatchOperator::In,
            "NotIn" => MatchOperator::NotIn,
            other => {
                let message = format!("`{other}` is not one of Equal, NotEqual, In, NotIn");
                self.error("matchOperator", message);
                return None;
            }
        };
        if rule.prefix_length.is_some()
            && matches!(operator, MatchOperator::Equal | MatchOperator::NotEqual)
        {
            self.error("prefixLength", "has a meaning only with In and NotIn");
        }
        let net = self.net(cidr, "cidr")?;
        let range = rule.prefix_length.unwrap_or_default();
        let bounds = (net.prefix_len().into(), net.max_prefix_len().into());
        let (least, most) = self.range(range, bounds, "prefixLength")?;
        let lengths = (u8::try_from(least).ok()?, u8::try_from(most).ok()?);
        Some(PrefixMatch { net, operator, lengths })
    }

    /// A range within bounds.
    fn range(
        &mut self,
        range: BgpFilterRange,
        (lowest, highest): (i64, i64),
        field: &str,
    ) -> Option<(i64, i64)> {
        let (least, most) = (range.min.unwrap_or(lowest), range.max.unwrap_or(highest));
        if lowest <= least && least <= most && most <= highest {
            return Some((least, most));
        }
        self.error(field, format!("{least} to {most} is not a range within {lowest} to {highest}"));
        None
    }

    fn path_length(&mut self, range: BgpFilterRange) -> Option<(u16, u16)> {
        let (least, most) = self.range(range, (0, u16::MAX.into()), "asPathLength")?;
        Some((u16::try_from(least).ok()?, u16::try_from(most).ok()?))
    }

    fn net(&mut self, text: &str, field: &str) -> Option<IpNet> {
        let at = format!("{}.{field}", self.at);
        let net = match field {
            "nextHop" => cidr::masked_or_address(text, &at, self.problems)?,
            _ => cidr::masked(text, &at, self.problems)?,
        };
        if Family::of(net.addr()) != self.family && field != "nextHop" {
            self.error(field, format!("{net} is not of the list's family"));
            return None;
        }
        Some(net)
    }

    fn as_number(&mut self, number: i64, field: &str) -> Option<u32> {
        as_number(number, &format!("{}.{field}", self.at), self.problems)
    }

    fn as_numbers(&mut self, numbers: &[i64], field: &str) -> Vec<u32> {
        if numbers.len() > MAX_ENTRIES {
            self.error(field, format!("has {} numbers, more than {MAX_ENTRIES}", numbers.len()));
        }
        numbers.iter().filter_map(|number| self.as_number(*number, field)).collect()
    }

    fn communities(&mut self, values: &[String], field: &str) -> Vec<Community> {
        if values.is_empty() && field == "communities.values" {
            self.error(field, "names none");
        }
        if values.len() > MAX_ENTRIES {
            self.error(field, format!("has {} values, more than {MAX_ENTRIES}", values.len()));
        }
        values.iter().filter_map(|value| self.community(value, field)).collect()
    }

    fn community(&mut self, text: &str, field: &str) -> Option<Community> {
        match community::community(text) {
            Ok(community) => Some(community),
            Err(message) => {
                self.error(field, message);
                None
            }
        }
    }

    fn action(&mut self, rule: &BgpFilterRule) -> Option<FilterAction> {
        match rule.action.as_str() {
            "Accept" => {
                if rule.operations.len() > MAX_ENTRIES {
                    self.error("operations", format!("are more than {MAX_ENTRIES}"));
                }
                let operations = rule.operations.iter().enumerate();
                Some(FilterAction::Accept(
                    operations.filter_map(|(i, operation)| self.operation(i, operation)).collect(),
                ))
            }
            "Reject" if rule.operations.is_empty() => Some(FilterAction::Reject),
            "Reject" => {
                self.error("operations", "nothing is changed of what is rejected");
                None
            }
            other => {
                self.error("action", format!("`{other}` is not one of Accept, Reject"));
                None
            }
        }
    }

    fn operation(&mut self, i: usize, operation: &BgpFilterOperation) -> Option<Operation> {
        let at = |name: &str| format!("operations[{i}].{name}");
        let mut found = Vec::new();
        if let Some(add) = &operation.add_community {
            let community = self.community(&add.value, &at("addCommunity.value"));
            found.push(community.map(Operation::AddCommunity));
        }
        if let Some(remove) = &operation.remove_community {
            let community = self.community(&remove.value, &at("removeCommunity.value"));
            found.push(community.map(Operation::RemoveCommunity));
        }
        if let Some(set) = &operation.set_communities {
            let communities = self.communities(&set.values, &at("setCommunities.values"));
            found.push(Some(Operation::SetCommunities(communities)));
        }
        if let Some(prepend) = &operation.prepend_as_path {
            let numbers = self.as_numbers(&prepend.prefix, &at("prependASPath.prefix"));
            found.push(Some(Operation::PrependAsPath(numbers)));
        }
        if let Some(set) = &operation.set_local_preference {
            let value = self.number(set.value, &at("setLocalPreference.value"));
            found.push(value.map(Operation::SetLocalPreference));
        }
        if let Some(set) = &operation.set_med {
            found.push(self.number(set.value, &at("setMED.value")).map(Operation::SetMed));
        }
        if let Some(set) = &operation.set_next_hop {
            let address = self.address(&set.value, &at("setNextHop.value"));
            found.push(address.map(Operation::SetNextHop));
        }
        match <[_; 1]>::try_from(found) {
            Ok([operation]) => operation,
            Err(found) => {
                let message = format!("asks for {} changes; each entry is one", found.len());
                self.error(&format!("operations[{i}]"), message);
                None
            }
        }
    }

    fn number(&mut self, number: i64, field: &str) -> Option<u32> {
        let value = u32::try_from(number).ok();
        if value.is_none() {
            self.error(field, format!("{number} is not between 0 and {}", u32::MAX));
        }
        value
    }

    fn address(&mut self, text: &str, field: &str) -> Option<IpAddr> {
        let address = text.parse::<IpAddr>().ok();
        let usable = |address: &IpAddr| {
            Family::of(*address) == self.family
                && !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_loopback()
        };
        let address = address.filter(usable);
        if address.is_none() {
            self.error(field, format!("`{text}` is not a next hop of the list's family"));
        }
        address
    }
}
