//! What a policy says of itself is misread: its place, its subject, its directions, its actions.

use std::sync::Arc;

use brindle_model::cluster::Update;
use brindle_model::labels::NAMESPACE_NAME_LABEL;
use brindle_model::policy::{Action, DEFAULT_TIER, Order, Policy, Rule, TierEnd};
use brindle_model::selector::Selector;
use brindle_model::verdict::PolicyKind;

use super::Named;

/// See [`super::all`].
pub(super) const MISTAKES: &[Named<Update>] = &[
    ("orders of policies are ignored", |u| policy(u, |p| p.order = Order::LAST)),
    ("a higher order comes first", |u| policy(u, |p| p.order = negated(p.order))),
    ("a policy without an order comes first", |u| {
        policy(u, |p| {
            if p.order == Order::LAST {
                p.order = order(-1e9);
            }
        });
    }),
    ("fractions of orders are cut off", |u| {
        policy(u, |p| p.order = number(p.order).map_or(Order::LAST, |n| order(n.trunc())));
    }),
    ("every policy stands in tier default", |u| policy(u, |p| p.tier = DEFAULT_TIER.into())),
    ("the subject is everybody", |u| policy(u, |p| p.subject = Selector::All.into())),
    ("the subject is not bound to its namespace", |u| {
        policy(u, |p| unbind(Arc::make_mut(&mut p.subject)));
    }),
    ("the subject is negated", |u| {
        policy(u, |p| p.subject = Selector::not(Selector::clone(&p.subject)).into());
    }),
    ("only the first condition of a subject counts", |u| {
        policy(u, |p| {
            if let Selector::And(operands) = &*p.subject {
                p.subject = operands[0].clone().into();
            }
        });
    }),
    ("every policy governs egress too", |u| {
        policy(u, |p| p.egress = Some(p.egress.take().unwrap_or_default()));
    }),
    ("every policy governs ingress too", |u| {
        policy(u, |p| p.ingress = Some(p.ingress.take().unwrap_or_default()));
    }),
    ("a direction without rules is not governed", |u| {
        policy(u, |p| {
            p.ingress = p.ingress.take().filter(|rules| !rules.is_empty());
            p.egress = p.egress.take().filter(|rules| !rules.is_empty());
        });
    }),
    ("ingress and egress are swapped", |u| {
        policy(u, |p| std::mem::swap(&mut p.ingress, &mut p.egress));
    }),
    ("rules are asked from the last to the first", |u| lists(u, |rules| rules.reverse())),
    ("only the first rule counts", |u| lists(u, |rules| rules.truncate(1))),
    ("the last rule is lost", |u| lists(u, |rules| drop(rules.pop()))),
    ("rules behind a broken one are numbered anew", |u| {
        lists(u, |rules| (0..).zip(rules).for_each(|(index, rule)| rule.index = index));
    }),
    ("Deny admits", |u| actions(u, Action::Deny, Action::Allow)),
    ("Deny passes", |u| actions(u, Action::Deny, Action::Pass)),
    ("Pass admits", |u| actions(u, Action::Pass, Action::Allow)),
    ("Pass denies", |u| actions(u, Action::Pass, Action::Deny)),
    ("Pass goes on with the next rule", |u| {
        lists(u, |rules| rules.retain(|rule| rule.action != Action::Pass));
    }),
    ("Log admits", |u| actions(u, Action::Log, Action::Allow)),
    ("Log denies", |u| actions(u, Action::Log, Action::Deny)),
    ("Log leaves no record", |u| {
        lists(u, |rules| rules.retain(|rule| rule.action != Action::Log));
    }),
    ("staged policies decide", |u| {
        if let Update::Policy(id, _) = u {
            id.kind = match id.kind {
                PolicyKind::StagedGlobalNetworkPolicy => PolicyKind::GlobalNetworkPolicy,
                PolicyKind::StagedKubernetesNetworkPolicy => PolicyKind::KubernetesNetworkPolicy,
                PolicyKind::StagedNetworkPolicy => PolicyKind::NetworkPolicy,
                other => other,
            };
        }
    }),
    ("staged policies are not judged", |u| {
        if let Update::Policy(id, policy) = u
            && id.kind.is_staged()
        {
            *policy = None;
        }
    }),
    ("orders of tiers are ignored", |u| {
        if let Update::Tier(_, Some(tier)) = u {
            Arc::make_mut(tier).order = Order::LAST;
        }
    }),
    ("a tier of higher order comes first", |u| {
        if let Update::Tier(_, Some(tier)) = u {
            let tier = Arc::make_mut(tier);
            tier.order = negated(tier.order);
        }
    }),
    ("every tier ends with Deny", |u| ends(u, TierEnd::Drop)),
    ("every tier ends with Pass", |u| ends(u, TierEnd::NextTier)),
    ("no tier is found", |u| {
        if let Update::Tier(_, tier) = u {
            *tier = None;
        }
    }),
];

/// Changes a policy, if the update brings one.
pub(super) fn policy(update: &mut Update, change: impl FnOnce(&mut Policy)) {
    if let Update::Policy(_, Some(policy)) = update {
        change(Arc::make_mut(policy));
    }
}

/// Changes both lists of rules of a policy.
pub(super) fn lists(update: &mut Update, mut change: impl FnMut(&mut Vec<Rule>)) {
    policy(update, |policy| {
        [&mut policy.ingress, &mut policy.egress].into_iter().flatten().for_each(&mut change);
    });
}

fn actions(update: &mut Update, from: Action, to: Action) {
    lists(update, |rules| {
        rules.iter_mut().filter(|rule| rule.action == from).for_each(|rule| rule.action = to);
    });
}

fn ends(update: &mut Update, end: TierEnd) {
    if let Update::Tier(_, Some(tier)) = update {
        Arc::make_mut(tier).end = end;
    }
}

/// Takes the condition on the namespace out of a selector.
pub(super) fn unbind(selector: &mut Selector) {
    let bound = |s: &Selector| matches!(s, Selector::In(key, _) if **key == *NAMESPACE_NAME_LABEL);
    match selector {
        Selector::And(operands) => {
            let rest = operands.iter().filter(|s| !bound(s)).cloned();
            *selector = Selector::and(rest.collect::<Vec<_>>());
        }
        other if bound(other) => *other = Selector::All,
        _ => {}
    }
}

fn number(order: Order) -> Option<f64> {
    order.to_string().parse().ok()
}

fn order(number: f64) -> Order {
    Order::new(number).expect("a finite number")
}

fn negated(order_: Order) -> Order {
    number(order_).map_or(Order::LAST, |number| order(-number))
}
