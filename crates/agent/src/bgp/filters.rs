//! Filters and limits of neighbours, in the speaker's words.

use std::sync::Arc;
use std::time::Duration;

use brindle_bgp_proto::attribute;
use brindle_bgp_proto::negotiated::PeerKind;
use brindle_bgp_proto::policy::{
    self, Action, AnyCommunity, Change, Filter, Matches, MaxPrefixes, MaxPrefixesOut, PeerPolicy,
    PrefixOperator, Rule, Rules,
};
use brindle_model::routing::Peer;
use brindle_model::routing::filter::{
    BgpFilter, Community, FilterAction, FilterRule, MatchOperator, Operation, PeerFilter, PeerType,
};

/// What a neighbour may give us and get from us.
pub fn policy(peer: &Peer) -> PeerPolicy {
    let limits = peer.settings.max_prefixes;
    PeerPolicy {
        reflector_client: peer.settings.reflector_client,
        filters: peer.filters.iter().map(filter).collect(),
        max_prefixes: limits.map(|limits| MaxPrefixes {
            ipv4: limits.ipv4,
            ipv6: limits.ipv6,
            warn_percent: limits.warn_percent,
            restart: limits.restart_after.map(|after| Duration::from_secs(after.into())),
        }),
        max_prefixes_out: peer.settings.max_prefixes_out.map(|limits| MaxPrefixesOut {
            ipv4: limits.ipv4,
            ipv6: limits.ipv6,
            warn_percent: limits.warn_percent,
        }),
        ..PeerPolicy::default()
    }
}

fn filter(PeerFilter { name, rules }: &PeerFilter) -> policy::PeerFilter {
    match rules {
        Some(filter) => policy::PeerFilter::Known(Arc::new(known(name, filter))),
        None => policy::PeerFilter::Broken {
            name: name.clone(),
            problem: "does not exist or was refused; see `brindlectl get bgpfilters`".into(),
        },
    }
}

fn known(name: &Arc<str>, filter: &BgpFilter) -> Filter {
    let rules = |list: &[FilterRule]| list.iter().map(rule).collect();
    Filter {
        name: name.clone(),
        import: Rules { ipv4: rules(&filter.import_v4), ipv6: rules(&filter.import_v6) },
        export: Rules { ipv4: rules(&filter.export_v4), ipv6: rules(&filter.export_v6) },
    }
}

fn rule(rule: &FilterRule) -> Rule {
    let matches = Matches {
        prefix: rule.prefix.map(|prefix| policy::PrefixMatch {
            net: prefix.net,
            operator: match prefix.operator {
                MatchOperator::Equal => PrefixOperator::Equal,
                MatchOperator::NotEqual => PrefixOperator::NotEqual,
                MatchOperator::In => PrefixOperator::In,
                MatchOperator::NotIn => PrefixOperator::NotIn,
            },
            min_len: prefix.lengths.0,
            max_len: prefix.lengths.1,
        }),
        learned: rule.learned,
        peer_kind: rule.peer_type.map(|kind| match kind {
            PeerType::External => PeerKind::External,
            PeerType::Internal => PeerKind::Internal,
        }),
        communities: communities(&rule.communities),
        as_path_prefix: rule.as_path_prefix.clone(),
        as_path_contains: rule.as_path_contains.clone(),
        as_path_length: rule.as_path_length.map(|(least, most)| (least.into(), most.into())),
        origin_as: rule.origin_as,
        next_hop: rule.next_hop,
    };
    let action = match &rule.action {
        FilterAction::Accept(operations) => Action::Accept(operations.iter().map(change).collect()),
        FilterAction::Reject => Action::Reject,
    };
    Rule { matches, action }
}

fn change(operation: &Operation) -> Change {
    match operation {
        Operation::AddCommunity(added) => Change::AddCommunity(community(added)),
        Operation::RemoveCommunity(removed) => Change::RemoveCommunity(community(removed)),
        Operation::SetCommunities(all) => Change::SetCommunities(communities(all)),
        Operation::PrependAsPath(numbers) => Change::PrependAsPath(numbers.clone()),
        Operation::SetLocalPreference(value) => Change::SetLocalPref(*value),
        Operation::SetMed(value) => Change::SetMed(*value),
        Operation::SetNextHop(address) => Change::SetNextHop(*address),
    }
}

/// Communities of the model.
pub fn communities(all: &[Community]) -> Vec<AnyCommunity> {
    all.iter().map(community).collect()
}

fn community(community: &Community) -> AnyCommunity {
    match *community {
        Community::Standard(high, low) => {
            let value = u32::from(high) << 16 | u32::from(low);
            AnyCommunity::Standard(attribute::Community(value))
        }
        Community::Large(global, local1, local2) => {
            AnyCommunity::Large(attribute::LargeCommunity { global, local1, local2 })
        }
    }
}
